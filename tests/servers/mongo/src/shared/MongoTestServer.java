import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.BinData;
import de.bwaldvogel.mongo.bson.BsonTimestamp;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import io.netty.channel.Channel;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.crypto.Mac;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * mongo-java-server (in memory) as a process that a client of today accepts, for tests.
 *
 * Usage: MongoTestServer PORT [--replica-set NAME] [--user NAME PASSWORD]
 *
 * Added to the library:
 * - the wire version of MongoDB 7.0, the command hello, and sessions (their ids are ignored)
 * - mongod's configureFailPoint failCommand, with errorCode, closeConnection, blockTimeMS and
 *   errorLabels, and the modes {times: n}, {skip: n}, "alwaysOn" and "off"
 * - with --replica-set: a primary of a set of one, which accepts the read concern snapshot and
 *   answers atClusterTime. It is NOT a snapshot: a later read sees what was written since.
 * - with --user: SCRAM-SHA-256, and nothing is answered before it
 * - {testCommandLog: 1}: the commands received since the last time it was asked
 *
 * Refused, because the library would silently ignore them: transactions, collations, and the read
 * concern snapshot without --replica-set.
 */
public class MongoTestServer
{
  public static void main(String[] args) throws Exception
  {
    Backend backend = new Backend();
    String address = "127.0.0.1:" + args[0];
    for (int i = 1; i < args.length; i++) {
      switch (args[i]) {
        case "--replica-set" -> backend.joinReplicaSet(args[++i], address);
        case "--user" -> backend.users = new Scram(args[++i], args[++i]);
        default -> throw new IllegalArgumentException(args[i]);
      }
    }
    backend.version(new MongoVersion() {
      @Override
      public List<Integer> getVersionArray()
      {
        return List.of(7, 0, 0);
      }

      @Override
      public int getWireVersion()
      {
        return 21;
      }
    });
    MongoServer server = new MongoServer(backend);
    server.bind("127.0.0.1", Integer.parseInt(args[0]));
    System.out.println("listening on " + address);
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    waitForEndOfStandardInput();
    Runtime.getRuntime().halt(0);
  }

  /** Whoever started us holds the other end of our standard input: it closes when they are gone. */
  private static void waitForEndOfStandardInput()
  {
    try {
      while (System.in.read() >= 0) { }
    }
    catch (IOException e) {
      // as good as closed
    }
  }

  private static Document error(int code, String name, String text)
  {
    return new Document("ok", 0.0)
        .append("errmsg", text).append("code", code).append("codeName", name);
  }

  private static final class Backend extends MemoryBackend
  {
    private static final Set<String> BEFORE_LOGIN = Set.of(
        "hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo",
        "saslStart", "saslContinue", "endSessions"
    );
    private static final Set<String> SESSION_COMMANDS =
        Set.of("endSessions", "killSessions", "refreshSessions");

    private Scram users;  // null: nobody needs to log in
    private Document replicaSet;  // what hello says of it; null: a standalone
    private final FailPoint failPoint = new FailPoint();
    private final List<Document> log = new ArrayList<>();

    void joinReplicaSet(String name, String address)
    {
      replicaSet = new Document("setName", name).append("setVersion", 1)
          .append("hosts", List.of(address)).append("me", address).append("primary", address)
          .append("secondary", false);
    }

    @Override
    public Document handleMessage(MongoMessage message)
    {
      Document query = message.getDocument();
      String name = query.keySet().iterator().next();
      Channel channel = message.getChannel();
      if (users != null && !BEFORE_LOGIN.contains(name) && !users.isLoggedIn(channel)) {
        return error(13, "Unauthorized", "Command " + name + " requires authentication");
      }
      switch (name) {
        case "configureFailPoint":
          failPoint.arm(query);
          return new Document("ok", 1.0);
        case "testCommandLog":
          return takeLog();
        case "saslStart":
        case "saslContinue":
          return users != null
                 ? users.answer(channel, name, query)
                 : error(59, "CommandNotFound", "no such command: '" + name + "'");
        default:
      }
      write(message, name, query);
      if (failPoint.fires(name)) {
        Document failure = failPoint.fail(channel);
        if (failure != null) {
          return failure;
        }
      }
      if (query.containsKey("startTransaction") || query.containsKey("autocommit")) {
        return error(20, "IllegalOperation", "this server has no transactions");
      }
      if (query.get("collation") instanceof Document collation
          && !"simple".equals(collation.get("locale"))) {
        return error(115, "CommandNotSupported", "this server has no collations");
      }
      boolean snapshot = query.get("readConcern") instanceof Document concern
                         && "snapshot".equals(concern.get("level"));
      if (snapshot && replicaSet == null) {
        return error(123, "NotAReplicaSet", "read concern snapshot needs a replica set");
      }
      Document answer = super.handleMessage(message);
      if (snapshot) {
        BsonTimestamp now = new BsonTimestamp(Instant.now(), 1);
        Document concern = (Document) query.get("readConcern");
        Object time = concern.containsKey("atClusterTime") ? concern.get("atClusterTime") : now;
        (answer.get("cursor") instanceof Document cursor ? cursor : answer)
            .put("atClusterTime", time);
      }
      return answer;
    }

    @Override
    public Document handleCommand(Channel channel, String database, String name, Document query)
    {
      if (name.equalsIgnoreCase("hello") || name.equalsIgnoreCase("isMaster")) {
        return hello(super.handleCommand(channel, database, "isMaster", query), query);
      }
      if (SESSION_COMMANDS.contains(name)) {
        return new Document("ok", 1.0);
      }
      return super.handleCommand(channel, database, name, query);
    }

    private Document hello(Document answer, Document query)
    {
      answer.put("helloOk", true);
      answer.put("isWritablePrimary", true);
      answer.put("readOnly", false);
      answer.put("logicalSessionTimeoutMinutes", 30);
      if (replicaSet != null) {
        answer.putAll(replicaSet);
      }
      if (users != null && query.containsKey("saslSupportedMechs")) {
        answer.put("saslSupportedMechs", List.of("SCRAM-SHA-256"));
      }
      return answer;
    }

    private void write(MongoMessage message, String name, Document query)
    {
      if (BEFORE_LOGIN.contains(name)) {
        return;
      }
      Document entry = new Document("command", name)
          .append("database", message.getDatabaseName())
          .append("argument", query.get(name));
      if (query.containsKey("readConcern")) {
        entry.append("readConcern", query.get("readConcern"));
      }
      synchronized (log) {
        log.add(entry);
      }
    }

    private Document takeLog()
    {
      synchronized (log) {
        Document answer = new Document("commands", new ArrayList<>(log)).append("ok", 1.0);
        log.clear();
        return answer;
      }
    }
  }

  /** mongod's fail point failCommand: one at a time; arming it again replaces it. */
  private static final class FailPoint
  {
    private static final Map<Integer, String> CODE_NAMES = Map.of(
        13, "Unauthorized", 18, "AuthenticationFailed", 43, "CursorNotFound",
        50, "MaxTimeMSExpired", 91, "ShutdownInProgress", 189, "PrimarySteppedDown",
        239, "SnapshotTooOld"
    );

    private final Set<String> commands = new HashSet<>();
    private Document data = new Document();
    private int skip;
    private int times;

    synchronized void arm(Document query)
    {
      data = query.get("data") instanceof Document given ? given : new Document();
      commands.clear();
      if (data.get("failCommands") instanceof Collection<?> names) {
        names.forEach(name -> commands.add(String.valueOf(name)));
      }
      skip = 0;
      times = 0;
      Object mode = query.get("mode");
      if ("alwaysOn".equals(mode)) {
        times = Integer.MAX_VALUE;
      } else if (mode instanceof Document counts) {
        if (counts.get("skip") instanceof Number number) {
          skip = number.intValue();
          times = Integer.MAX_VALUE;
        }
        if (counts.get("times") instanceof Number number) {
          times = number.intValue();
        }
      }
    }

    synchronized boolean fires(String name)
    {
      if (!commands.contains(name) || times == 0) {
        return false;
      }
      if (skip > 0) {
        skip--;
        return false;
      }
      if (times != Integer.MAX_VALUE) {
        times--;
      }
      return true;
    }

    /** What is answered instead of the command's result; null where the command is only late. */
    Document fail(Channel channel)
    {
      if (data.get("blockTimeMS") instanceof Number milliseconds) {
        try {
          Thread.sleep(milliseconds.longValue());
        }
        catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
      }
      if (Boolean.TRUE.equals(data.get("closeConnection"))) {
        channel.close().syncUninterruptibly();
        return new Document("ok", 0.0);
      }
      if (!(data.get("errorCode") instanceof Number number)) {
        return null;
      }
      int code = number.intValue();
      Document failure = error(
          code,
          CODE_NAMES.getOrDefault(code, "Location" + code),
          "Failing command via 'failCommand' failpoint"
      );
      if (data.containsKey("errorLabels")) {
        failure.append("errorLabels", data.get("errorLabels"));
      }
      return failure;
    }
  }

  /** The server's side of SCRAM-SHA-256 (RFC 5802, 7677) for one user with an ASCII password. */
  private static final class Scram
  {
    private static final int ITERATIONS = 4096;

    private final String user;
    private final byte[] salt = new byte[16];
    private final byte[] salted;
    private final SecureRandom random = new SecureRandom();
    private final Map<Channel, String> begun = new ConcurrentHashMap<>();
    private final Set<Channel> loggedIn = ConcurrentHashMap.newKeySet();

    Scram(String user, String password) throws GeneralSecurityException
    {
      this.user = user;
      random.nextBytes(salt);
      PBEKeySpec spec = new PBEKeySpec(password.toCharArray(), salt, ITERATIONS, 256);
      salted = SecretKeyFactory.getInstance("PBKDF2WithHmacSHA256")
                               .generateSecret(spec).getEncoded();
    }

    boolean isLoggedIn(Channel channel)
    {
      return loggedIn.contains(channel);
    }

    Document answer(Channel channel, String command, Document query)
    {
      if (command.equals("saslStart") && !"SCRAM-SHA-256".equals(query.get("mechanism"))) {
        return error(334, "MechanismUnavailable", "only SCRAM-SHA-256 is there");
      }
      String payload = new String(bytes(query.get("payload")), StandardCharsets.UTF_8);
      try {
        boolean start = command.equals("saslStart");
        String said = start ? first(channel, payload) : last(channel, payload);
        if (said == null) {
          return error(18, "AuthenticationFailed", "Authentication failed.");
        }
        return new Document("conversationId", 1).append("done", !start)
            .append("payload", new BinData(said.getBytes(StandardCharsets.UTF_8)))
            .append("ok", 1.0);
      }
      catch (GeneralSecurityException e) {
        throw new IllegalStateException(e);
      }
    }

    /** The server's first message: the nonce, the salt and the iterations. */
    private String first(Channel channel, String payload)
    {
      String bare = payload.substring("n,,".length());
      byte[] nonce = new byte[18];
      random.nextBytes(nonce);
      Map<String, String> client = fields(bare);
      String said = "r=" + client.get("r") + base64(nonce) + ",s=" + base64(salt)
                    + ",i=" + ITERATIONS;
      // an unknown user is refused in the last step, as by mongod
      begun.put(channel, (user.equals(client.get("n")) ? "" : "unknown ") + bare + "," + said);
      return said;
    }

    /** The server's last message, its own proof; null if that of the client is wrong. */
    private String last(Channel channel, String payload) throws GeneralSecurityException
    {
      String before = begun.remove(channel);
      if (before == null) {
        return null;
      }
      int end = payload.lastIndexOf(",p=");
      byte[] proof = Base64.getDecoder().decode(payload.substring(end + ",p=".length()));
      byte[] talk = (before + "," + payload.substring(0, end)).getBytes(StandardCharsets.UTF_8);
      byte[] clientKey = hmac(salted, "Client Key".getBytes(StandardCharsets.UTF_8));
      byte[] storedKey = MessageDigest.getInstance("SHA-256").digest(clientKey);
      byte[] signature = hmac(storedKey, talk);
      for (int i = 0; i < signature.length; i++) {
        signature[i] ^= clientKey[i];
      }
      if (!MessageDigest.isEqual(signature, proof)) {
        return null;
      }
      loggedIn.add(channel);
      channel.closeFuture().addListener(closed -> loggedIn.remove(channel));
      byte[] serverKey = hmac(salted, "Server Key".getBytes(StandardCharsets.UTF_8));
      return "v=" + base64(hmac(serverKey, talk));
    }

    private static byte[] hmac(byte[] key, byte[] text) throws GeneralSecurityException
    {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(key, "HmacSHA256"));
      return mac.doFinal(text);
    }

    private static String base64(byte[] bytes)
    {
      return Base64.getEncoder().encodeToString(bytes);
    }

    private static Map<String, String> fields(String message)
    {
      Map<String, String> fields = new HashMap<>();
      for (String part : message.split(",")) {
        fields.put(part.substring(0, 1), part.substring(2));
      }
      return fields;
    }

    private static byte[] bytes(Object payload)
    {
      return payload instanceof BinData binary ? binary.getData() : (byte[]) payload;
    }
  }
}
