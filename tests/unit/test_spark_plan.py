"""What is read from a parsed plan as Spark prints it: nodes, names, and texts that look like them."""

from __future__ import annotations

import pytest

from lake.catalog.spark_plan import ANALYZED, PARSED, refusal

HEAD = f"{PARSED}\n'Project [*]\n+- 'Join Inner\n   :- 'UnresolvedRelation [lake_has_no_such_table], [], false\n"
TAIL = f"\n{ANALYZED}\norg.apache.spark.sql.AnalysisException: it cannot be resolved\n+- 'Anything [at all]\n"


def said(*lines: str) -> str | None:
    """What is wrong with a plan that has these lines below its root."""
    return refusal(HEAD + "\n".join(f"   {line}" for line in lines) + TAIL, ["site_watch.shots"])


def test_a_query_over_tables_passes() -> None:
    assert said("+- 'SubqueryAlias a", "   +- 'UnresolvedRelation [assets], [], false") is None
    assert said("+- 'UnresolvedRelation [Site_Watch, SHOTS], [], false") is None
    assert said("+- 'UnresolvedTableValuedFunction [range], [3], false") is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("+- 'UnresolvedRelation [text, /etc/passwd], [], false", "no table 'text./etc/passwd'"),
        ("+- 'UnresolvedRelation [site_watch, shots], [versionAsOf=1], false", "no table"),
        ("+- 'UnresolvedRelation [site_watch, shots], [], true", "no table"),
        (":- 'UnresolvedRelation [a", "no table"),
        ("+- 'RelationTimeTravel 'UnresolvedRelation [assets], [], false, 0", "newest version"),
        (":  +- 'ScriptTransformation cat, ['x]", "takes one SELECT"),
        (":  :- InsertIntoStatement [x], false", "takes one SELECT"),
        ("+- 12?", "takes one SELECT"),
        ("+- 'UnresolvedTableValuedFunction [table_changes], [assets, 0], false", "'table_changes' is not allowed"),
        ("+- 'Project ['reflect(java.lang.System, getenv, HOME) AS a#1]", "'reflect' is not allowed"),
        ("+- 'Project ['system.builtin.`Java_Method` (x)]", "'java_method' is not allowed"),
        ("+- 'Project [expressionwithunresolvedidentifier(concat(ref, lect), x)]", "IDENTIFIER"),
    ],
)
def test_what_is_no_query_over_tables_is_refused(line: str, reason: str) -> None:
    assert reason in (said(line) or "")


def test_a_text_with_line_breaks_is_no_node_unless_it_looks_like_one() -> None:
    assert said("+- 'Project [unresolvedalias(two\nlines)]") is None
    assert said("+- 'Project [unresolvedalias(x\n+- DropTable y)]") is not None
    # A name cannot end its node early, and what looks like the end of the plan hides nothing.
    assert said("+- 'UnresolvedRelation [assets], [], false\n, /etc], [], false") is None
    for text in (ANALYZED, PARSED, "== Optimized Logical Plan =="):
        assert said(f"+- 'Project [x\n{text}\n]") is not None


def test_a_plan_that_was_resolved_is_refused() -> None:
    assert refusal(HEAD + TAIL + "\n== Optimized Logical Plan ==\nProject", []) is not None
    assert refusal("", []) is not None
