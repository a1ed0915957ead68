package org.perceptionlake;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.Locale;
import java.util.Set;
import java.util.function.Predicate;
import org.apache.spark.sql.SparkSessionExtensions;
import org.apache.spark.sql.catalyst.analysis.UnresolvedFunction;
import org.apache.spark.sql.catalyst.analysis.UnresolvedRelation;
import org.apache.spark.sql.catalyst.analysis.UnresolvedTableValuedFunction;
import org.apache.spark.sql.catalyst.parser.ParserInterface;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.classic.SparkSession;
import scala.Product;
import scala.collection.Iterator;
import scala.collection.Seq;
import scala.runtime.AbstractFunction1;
import scala.runtime.AbstractFunction2;
import scala.runtime.BoxedUnit;

/**
 * Spark's parser, which in a session that has {@value #KEY} takes queries over named tables and nothing else.
 *
 * <p>{@code spark.sql.extensions} names this class, last, so that it sees what all parsers before it made of a text. A
 * setting of the session, and not of the engine, because verbs share a server (Spark Connect) with queries of users; a
 * query cannot change it, for SET is not a query. All that a plan is made of is looked at before Spark resolves it, by
 * the fields of its nodes, so that no corner (a window, a default, a name inside a name) is left out.
 */
public final class QueryOnly extends AbstractFunction1<SparkSessionExtensions, BoxedUnit> {
  /** Tables of two names that may be read, {@code library.table}, separated by commas; empty for none. */
  static final String KEY = "spark.perceptionlake.queryOnly";

  /** How every refusal begins. What follows is the kind and the name; {@code lake.catalog.spark_query} words it. */
  static final String REFUSED = "perceptionlake refuses ";

  /** What a parsed query may be made of; all else writes, runs programs, reads old versions, or is new to us. */
  private static final Set<String> NODES =
      Set.of(
          "Aggregate", "Distinct", "Except", "Filter", "Generate", "GlobalLimit", "Intersect", "Join", "LateralJoin",
          "LocalLimit", "LocalRelation", "Offset", "OneRowRelation", "Pivot", "Project", "Sample", "Sort",
          "SubqueryAlias", "Union", "UnresolvedHaving", "UnresolvedInlineTable", "UnresolvedRelation",
          "UnresolvedSubqueryColumnAliases", "UnresolvedTableValuedFunction", "UnresolvedWith", "Unpivot",
          "UnpivotTransformer", "Window", "WithWindowDefinition");

  private static final Set<String> TABLE_FUNCTIONS =
      Set.of(
          "explode", "explode_outer", "inline", "inline_outer", "json_tuple", "posexplode", "posexplode_outer",
          "range", "stack");

  /** Functions that call any static method of Java: {@code System.getenv} for one. */
  private static final Set<String> REFLECTION = Set.of("java_method", "reflect", "try_reflect");

  @Override
  public BoxedUnit apply(SparkSessionExtensions extensions) {
    extensions.injectParser(
        new AbstractFunction2<org.apache.spark.sql.SparkSession, ParserInterface, ParserInterface>() {
          @Override
          public ParserInterface apply(org.apache.spark.sql.SparkSession session, ParserInterface parser) {
            return guarded((SparkSession) session, parser);
          }
        });
    return BoxedUnit.UNIT;
  }

  /** The parser with every plan that it returns looked at. */
  private static ParserInterface guarded(SparkSession session, ParserInterface parser) {
    return (ParserInterface)
        Proxy.newProxyInstance(
            ParserInterface.class.getClassLoader(),
            new Class<?>[] {ParserInterface.class},
            (proxy, method, arguments) -> {
              Object found;
              try {
                found = method.invoke(parser, arguments);
              } catch (InvocationTargetException failed) {
                throw failed.getCause();
              }
              if (found instanceof LogicalPlan) {
                String tables = session.sessionState().conf().getConfString(KEY, null);
                if (tables != null) {
                  Set<String> known = Set.of(Arrays.stream(lower(tables).split(",")).distinct().toArray(String[]::new));
                  look(found, known::contains);
                }
              }
              return found;
            });
  }

  /** Look at a value of a plan, and at every value in it. */
  private static void look(Object value, Predicate<String> known) {
    String kind = value == null ? "" : value.getClass().getSimpleName().replace("$", "");
    if (value instanceof UnresolvedRelation relation) {
      String name = relation.multipartIdentifier().mkString(".");
      if (relation.multipartIdentifier().size() > 1 && !known.test(lower(name))) {
        throw refusal("table", name);
      }
      if (!relation.options().isEmpty() || relation.isStreaming()) {
        throw refusal("node", "options of a table");
      }
    } else if (value instanceof UnresolvedTableValuedFunction function) {
      refuseIf(!TABLE_FUNCTIONS.contains(last(function.name())), "table function", last(function.name()));
    } else if (value instanceof UnresolvedFunction function) {
      refuseIf(REFLECTION.contains(last(function.nameParts())), "function", last(function.nameParts()));
    } else if (kind.equals("ExpressionWithUnresolvedIdentifier")) {
      throw refusal("identifier", kind);
    }
    if (value instanceof LogicalPlan && !NODES.contains(kind)) {
      throw refusal("node", kind);
    }
    if (value instanceof scala.collection.Iterable<?> many) {
      lookAtAll(many.iterator(), known);
    } else if (value instanceof Product fields) {
      lookAtAll(fields.productIterator(), known);
    }
  }

  private static void lookAtAll(Iterator<?> values, Predicate<String> known) {
    while (values.hasNext()) {
      look(values.next(), known);
    }
  }

  private static void refuseIf(boolean wrong, String kind, String name) {
    if (wrong) {
      throw refusal(kind, name);
    }
  }

  /** Of a kind that both a session of our own and a client of a server hand on with its text. */
  private static RuntimeException refusal(String kind, String name) {
    return new IllegalArgumentException(REFUSED + kind + ": " + name);
  }

  private static String last(Seq<String> names) {
    return lower(names.last());
  }

  private static String lower(String name) {
    return name.toLowerCase(Locale.ROOT);
  }
}
