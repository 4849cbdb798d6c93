/* A program that knows nothing of wallets: connects by JDBC several times and prints who it is. */
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.Properties;

public class Plain {
	public static void main(String[] args) throws Exception {
		Properties p = new Properties();
		p.setProperty("user", args[1]);
		p.setProperty("password", args[2]);
		for (int i = 0; i < 3; i++)
			try (Connection c = DriverManager.getConnection(args[0], p);
			     ResultSet r = c.createStatement().executeQuery("SELECT current_user")) {
				r.next();
				System.out.println(r.getString(1));
			}
	}
}
