import com.google.inject.Injector;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import org.apache.druid.cli.CliBroker;
import org.apache.druid.cli.CliCoordinator;
import org.apache.druid.cli.CliHistorical;
import org.apache.druid.cli.CliIndexer;
import org.apache.druid.cli.CliRouter;
import org.apache.druid.guice.ExtensionsLoader;
import org.apache.druid.guice.StartupInjectorBuilder;

/** One Druid server with properties of its own: org.apache.druid.cli.Main less the command line. */
public class OneServer
{
  private static final Map<String, Class<? extends Runnable>> COMMANDS = Map.of(
      "coordinator", CliCoordinator.class,
      "broker", CliBroker.class,
      "historical", CliHistorical.class,
      "indexer", CliIndexer.class,
      "router", CliRouter.class
  );

  public static void run(String server, Path conf) throws Exception
  {
    Properties properties = new Properties();
    for (String name : new String[]{"common", server}) {
      try (InputStream in = Files.newInputStream(conf.resolve(name + ".properties"))) {
        properties.load(in);
      }
    }
    properties.putAll(System.getProperties());  // -Ddruid.x=y wins, as in Druid's own Main
    Runnable command = COMMANDS.get(server).getConstructor().newInstance();
    Injector startup =
        new StartupInjectorBuilder().withExtensions().withProperties(properties).build();
    ExtensionsLoader.instance(startup);
    startup.injectMembers(command);
    command.run();
  }
}
