import io.delta.storage.LogStore;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.FileAlreadyExistsException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;

/**
 * One writer of a race for commits. Reads settings ("key=value") up to an empty line, then one commit a line ("class
 * path"), which it tries to write without overwriting, and says "won CONTENT", "lost" or "failed REASON".
 */
public class Race {
  public static void main(String[] arguments) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    Configuration conf = new Configuration();
    for (String line = in.readLine(); !line.isEmpty(); line = in.readLine()) {
      String[] pair = line.split("=", 2);
      conf.set(pair[0], pair[1]);
    }
    Map<String, LogStore> stores = new HashMap<>();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] order = line.split(" ", 2);
      LogStore store = stores.get(order[0]);
      if (store == null) {
        store = (LogStore) Class.forName(order[0]).getConstructor(Configuration.class).newInstance(conf);
        stores.put(order[0], store);
      }
      System.out.println(commit(store, new Path(order[1]), conf));
    }
  }

  private static String commit(LogStore store, Path path, Configuration conf) {
    String content = UUID.randomUUID().toString();
    try {
      store.write(path, List.of(content).iterator(), false, conf);
      return "won " + content;
    } catch (FileAlreadyExistsException another) {
      return "lost";
    } catch (Exception failure) {
      return "failed " + failure.toString().replace('\n', ' ');
    }
  }
}
