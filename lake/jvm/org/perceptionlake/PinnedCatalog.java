package org.perceptionlake;

import java.util.Map;
import org.apache.spark.sql.catalyst.analysis.NoSuchTableException;
import org.apache.spark.sql.classic.SparkSession;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableCatalog;
import org.apache.spark.sql.connector.catalog.TableChange;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * One thematic library as a catalog: each table is a Delta table at the version that is published.
 *
 * <p>{@code spark.sql.catalog.LIBRARY} names this class, {@code spark.sql.catalog.LIBRARY.table.TABLE} a place and
 * {@code spark.sql.catalog.LIBRARY.version.TABLE} a version. A catalog belongs to one session, so that verbs that
 * share a server (Spark Connect) do not see each other's. Nothing can be created, changed or dropped.
 */
public final class PinnedCatalog implements TableCatalog {
  private String name;
  private CaseInsensitiveStringMap options;

  @Override
  public void initialize(String name, CaseInsensitiveStringMap options) {
    this.name = name;
    this.options = options;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public Table loadTable(Identifier table) throws NoSuchTableException {
    String place = options.get("table." + table.name());
    if (table.namespace().length != 0 || place == null) {
      throw new NoSuchTableException(table);
    }
    TableCatalog delta = (TableCatalog) SparkSession.active().sessionState().catalogManager().v2SessionCatalog();
    return delta.loadTable(Identifier.of(new String[] {"delta"}, place), options.get("version." + table.name()));
  }

  @Override
  public Identifier[] listTables(String[] namespace) {
    return options.keySet().stream()
        .filter(key -> key.startsWith("table."))
        .map(key -> Identifier.of(new String[0], key.substring("table.".length())))
        .toArray(Identifier[]::new);
  }

  @Override
  public Table createTable(Identifier table, StructType schema, Transform[] parts, Map<String, String> properties) {
    throw new UnsupportedOperationException(name + " is read only");
  }

  @Override
  public Table alterTable(Identifier table, TableChange... changes) {
    throw new UnsupportedOperationException(name + " is read only");
  }

  @Override
  public boolean dropTable(Identifier table) {
    throw new UnsupportedOperationException(name + " is read only");
  }

  @Override
  public void renameTable(Identifier from, Identifier to) {
    throw new UnsupportedOperationException(name + " is read only");
  }
}
