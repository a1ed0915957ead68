package org.perceptionlake;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * Commits to an S3 store by a conditional PUT ({@code If-None-Match: *}): of several drivers exactly one wins a version.
 *
 * <p>When the answer to a PUT is lost, the SDK tries again and is told that the object exists: by its own first try.
 * So after any failure the object is read back: equal bytes are our commit, other bytes are another writer's.
 */
public class ConditionalLogStore extends HadoopFileSystemLogStore {
  private static final String CONDITIONAL = "fs.option.create.conditional.overwrite";
  private static final int ATTEMPTS = 5;

  public ConditionalLogStore(Configuration conf) {
    super(conf);
  }

  @Override
  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration conf) throws IOException {
    byte[] content = Lines.join(actions);
    FileSystem fs = path.getFileSystem(conf);
    for (int attempt = 1; ; attempt++) {
      try {
        create(fs, path, content, overwrite);
        return;
      } catch (IOException | RuntimeException failure) {
        byte[] found = readBack(fs, path, failure);
        if (found != null && Arrays.equals(found, content)) {
          return;
        }
        if (found != null && !overwrite) {
          throw new FileAlreadyExistsException(path.toString());
        }
        // Absent after a conflict (409): the other writer gave up, and the version is free again.
        if (attempt == ATTEMPTS) {
          throw new IOException("outcome unknown: commit " + path + " is absent after " + attempt + " tries", failure);
        }
        pause(attempt);
      }
    }
  }

  private static void create(FileSystem fs, Path path, byte[] content, boolean overwrite) throws IOException {
    var builder = fs.createFile(path).overwrite(overwrite);
    if (!overwrite) {
      builder.must(CONDITIONAL, true);
    }
    // Not try-with-resources: closing is what writes, so a failed write must not be closed into an object.
    FSDataOutputStream out = (FSDataOutputStream) builder.build();
    out.write(content);
    out.close();
  }

  private static byte[] readBack(FileSystem fs, Path path, Exception failure) throws IOException {
    try (InputStream in = fs.open(path)) {
      return in.readAllBytes();
    } catch (FileNotFoundException absent) {
      return null;
    } catch (IOException unreadable) {
      unreadable.addSuppressed(failure);
      throw new IOException("outcome unknown: commit " + path + " failed and cannot be read back", unreadable);
    }
  }

  private static void pause(int attempt) throws IOException {
    try {
      Thread.sleep(50L << attempt);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", interrupted);
    }
  }

  @Override
  public Boolean isPartialWriteVisible(Path path, Configuration conf) {
    return false;
  }

  /** The lines of a commit as the bytes of its file. */
  static final class Lines {
    static byte[] join(Iterator<String> actions) {
      StringBuilder text = new StringBuilder();
      while (actions.hasNext()) {
        text.append(actions.next()).append('\n');
      }
      return text.toString().getBytes(StandardCharsets.UTF_8);
    }
  }
}
