// A small HTTP program that knows nothing of tracing: the OpenTelemetry Java agent instruments it.
//
//   java -javaagent:opentelemetry-javaagent.jar Service.java NEXT     one request, one call to NEXT ("-" for none)
//
// Prints its port on the first line. With OTEL_TRACES_EXPORTER=otlp,experimental-otlp/stdout the agent prints what it
// exports, as OTLP JSON.

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

public class Service {
  public static void main(String[] args) throws Exception {
    CountDownLatch served = new CountDownLatch(1);
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    server.createContext("/java", exchange -> {
      if (!args[0].equals("-")) {
        try {
          HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).build();
          HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        } catch (InterruptedException error) {
          Thread.currentThread().interrupt();
        }
      }
      byte[] body = "java".getBytes();
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
      served.countDown();
    });
    server.start();
    System.out.println(server.getAddress().getPort());
    boolean inTime = served.await(120, TimeUnit.SECONDS);
    server.stop(1);
    System.exit(inTime ? 0 : 1);
  }
}
