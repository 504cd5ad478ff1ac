import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * ZooKeeper and a whole Druid in one JVM, for tests.
 *
 * Usage: OneJvm CONF ZOOKEEPER_DATA ZOOKEEPER_PORT SERVER_CLASS_PATH SERVER...
 *
 * Each server loads SERVER_CLASS_PATH (Druid, Calcite, the servlet side of Guice) with a loader of
 * its own, because their statics are meant for one server: in a shared loader GuiceFilter would
 * answer every port with the resources of the server that started last. All other jars are shared.
 */
public class OneJvm
{
  public static void main(String[] args) throws Exception
  {
    endWithStandardInput();
    Path conf = Path.of(args[0]);
    File data = Files.createDirectories(Path.of(args[1])).toFile();
    NIOServerCnxnFactory zookeeper = new NIOServerCnxnFactory();
    zookeeper.configure(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[2])), 0);
    zookeeper.startup(new ZooKeeperServer(data, data, 2000));
    List<URL> urls = new ArrayList<>();
    for (String path : args[3].split(File.pathSeparator)) {
      urls.add(new File(path).toURI().toURL());
    }
    for (int i = 4; i < args.length; i++) {
      String server = args[i];
      new Thread(() -> run(server, conf, urls.toArray(new URL[0])), "druid-" + server).start();
    }
  }

  private static void run(String server, Path conf, URL[] urls)
  {
    try {
      ClassLoader loader = new URLClassLoader(server, urls, OneJvm.class.getClassLoader());
      Thread.currentThread().setContextClassLoader(loader);
      loader.loadClass("OneServer").getMethod("run", String.class, Path.class)
            .invoke(null, server, conf);
    }
    catch (Throwable e) {
      e.printStackTrace();
      Runtime.getRuntime().halt(1);
    }
  }

  /** Whoever started us holds the other end of our standard input: it closes when they are gone. */
  private static void endWithStandardInput()
  {
    Thread watch = new Thread(() -> {
      try {
        while (System.in.read() >= 0) { }
      }
      catch (IOException e) {
        // as good as closed
      }
      Runtime.getRuntime().halt(0);
    }, "standard-input");
    watch.setDaemon(true);
    watch.start();
  }
}
