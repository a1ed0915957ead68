package org.perceptionlake;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Iterator;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;

/**
 * Commits to a folder by a hard link, which the kernel refuses when the name exists: of several drivers exactly one wins
 * a version. Delta's own store for folders looks first and renames then, and two drivers can pass between the two.
 */
public class ExclusiveFileLogStore extends HadoopFileSystemLogStore {
  public ExclusiveFileLogStore(Configuration conf) {
    super(conf);
  }

  @Override
  public void write(
      org.apache.hadoop.fs.Path path, Iterator<String> actions, Boolean overwrite, Configuration conf)
      throws IOException {
    Path target = Paths.get(path.toUri().getPath());
    Files.createDirectories(target.getParent());
    Path written = target.resolveSibling("." + target.getFileName() + "." + UUID.randomUUID() + ".tmp");
    try {
      Files.write(written, ConditionalLogStore.Lines.join(actions), StandardOpenOption.CREATE_NEW);
      sync(written);
      if (overwrite) {
        Files.move(written, target, StandardCopyOption.ATOMIC_MOVE);
      } else {
        Files.createLink(target, written);
      }
    } finally {
      Files.deleteIfExists(written);
    }
    sync(target.getParent());
  }

  private static void sync(Path path) throws IOException {
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  @Override
  public Boolean isPartialWriteVisible(org.apache.hadoop.fs.Path path, Configuration conf) {
    return false;
  }
}
