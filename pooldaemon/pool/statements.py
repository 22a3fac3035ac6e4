"""Which statements provably leave nothing behind on a MySQL or MariaDB session.

Text can't prove that a session is dirty (a view may call a function that sets a variable),
so it is asked the other way round: a statement is *clean* only if it is one plain SELECT,
INSERT, UPDATE, DELETE or REPLACE that names no variable and calls nothing but the built-in
functions listed here. Whatever is not understood counts as dirty, which costs a reset and
never a leak. What hides behind tables (triggers, views over functions) is not visible in the
text: see :func:`pooldaemon.pool.session.runs_hidden_code`.
"""

from __future__ import annotations

import re

MAX_CACHED_LENGTH = 4096
"""Longer statements (bulk inserts) are judged anew each time rather than kept in memory."""

MAX_VERDICTS = 4096
"""So many verdicts are remembered, then all are forgotten: cheaper than to order them by use."""

# Savepoints end with their transaction, and that the transaction has ended is checked apart.
SHOWN_SHAPE = 200
"""Longer shapes are cut."""

# For the shape of a statement: comments, and literals with their data, which may be cut off or
# hold escapes; names stay.
_COMMENT = r"/\*.*?(?:\*/|\Z) | \#[^\n]* | --(?=\s|\Z)[^\n]*"
_HIDDEN = re.compile(
    rf"""(?P<comment>{_COMMENT})
    | `[^`]*(?:`|\Z)
    | (?P<literal>'[^']*(?:'|\Z) | "[^"]*(?:"|\Z) | (?<![\w$])\.?\d[\w.]*)""",
    re.VERBOSE | re.DOTALL,
)

_SAVEPOINT = re.compile(r"(?:rollback to |release )?savepoint `\w+`", re.IGNORECASE)

_PLAIN_STARTS = frozenset({"select", "insert", "update", "delete", "replace", "with"})

_WRITES = frozenset({"insert", "update", "delete", "replace"})

DIRTY, READS, WRITES, SAVEPOINT = 0, 1, 2, 4
"""Verdicts. Whatever is not dirty is clean."""

# All the parts that a clean statement is made of; anything between them makes it dirty, such as
# @ (variables), ; (a second statement), # and { and \ (comments, ODBC's calls, escapes).
# Only %s and %(name)s are placeholders: the data goes there, and a quote around one would let it
# out of its literal.
_TOKEN = re.compile(
    r"""\s+
    | '(?:[^'\\%]|%%)*'
    | (?P<quoted>`(?:[^`%]|%%)+` | "(?:[^"\\%]|%%)*")  # the latter a name, with ANSI_QUOTES
    | (?P<word>[A-Za-z_$\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<placeholder>%s|%\(\w+\)s)
    | \d+(?:\.\d*)?(?:[eE][+-]?\d+)? | 0[xX][0-9A-Fa-f]+
    | (?P<open>\()
    | (?P<dot>\.)
    | %% | ->>? | <=>? | >=? | <> | != | \|\|? | &&? | <<|>> | -(?!-) | /(?!\*) | \*(?!/)
    | [),=+^~!<>?]
    """,
    re.VERBOSE,
)

_KEYWORDS = """
    all and any as between by case cross distinct distinctrow div else escape except exists for
    force from group having ignore in index inner intersect into is join key lateral like limit mod
    not of offset on or order outer over partition regexp returning rlike select separator set some
    straight_join then union using value values when where with within xor
    _ascii _binary _latin1 _utf8 _utf8mb3 _utf8mb4
"""

_BUILT_INS = """
    abs acos adddate addtime aes_decrypt aes_encrypt against any_value ascii asin atan atan2 avg bin
    bin_to_uuid binary bit_and bit_count bit_length bit_or bit_xor cast ceil ceiling char
    char_length character_length charset coalesce coercibility collation concat concat_ws
    connection_id conv convert convert_tz cos cot count crc32 cume_dist curdate current_date
    current_time current_timestamp current_user curtime database date date_add date_format date_sub
    datediff datetime day dayname dayofmonth dayofweek dayofyear decimal degrees dense_rank double
    elt exp export_set extract field find_in_set first_value float floor format from_base64
    from_days from_unixtime greatest group_concat grouping hex hour if ifnull inet6_aton inet6_ntoa
    inet_aton inet_ntoa insert instr interval is_uuid isnull json_array json_array_append
    json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth
    json_detailed json_extract json_insert json_keys json_length json_merge json_merge_patch
    json_merge_preserve json_object json_objectagg json_overlaps json_pretty json_query json_quote
    json_remove json_replace json_search json_set json_type json_unquote json_valid json_value lag
    last_day last_value lcase lead least left length ln localtime localtimestamp locate log log10
    log2 lower lpad ltrim make_set makedate maketime match max md5 microsecond mid min minute month
    monthname now nth_value ntile nullif numeric oct octet_length ord percent_rank percentile_cont
    percentile_disc period_add period_diff pi point position pow power quarter quote radians rand
    random_bytes rank regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse
    right round row row_number rpad rtrim schema sec_to_time second session_user sha sha1 sha2 sign
    signed sin sleep soundex space sqrt std stddev stddev_pop stddev_samp str_to_date strcmp subdate
    substr substring substring_index subtime sum sysdate system_user tan time time_format
    time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_days to_seconds trim
    truncate ucase unhex unix_timestamp unsigned upper user utc_date utc_time utc_timestamp uuid
    uuid_short uuid_to_bin var_pop var_samp varbinary varchar variance version week weekday
    weekofyear weight_string year yearweek
"""

_HARMLESS = frozenset((_KEYWORDS + _BUILT_INS).split())

# Words that make a plain statement do more: results kept on the server, another kind of SELECT,
# a sequence, a schema whose views call functions.
_FORBIDDEN = frozenset(
    {"outfile", "dumpfile", "procedure", "sql_calc_found_rows", "next", "previous", "sys"}
)

_verdicts: dict[str | bytes, int] = {}


def judge(statement: str | bytes) -> int:
    """``READS``, ``WRITES`` or ``SAVEPOINT``: *statement* provably leaves the session as it found
    it; or ``DIRTY``.

    Give the template, before parameters are put in, where there is one: parameters become
    literals and can't change the verdict, and a template is judged once. Thread-safe.
    """
    verdict = _verdicts.get(statement)
    if verdict is None:
        # Latin-1 maps every byte to one character and keeps ASCII, all the grammar needs.
        text = statement.decode("latin-1") if isinstance(statement, bytes) else statement
        verdict = SAVEPOINT if _SAVEPOINT.fullmatch(text.strip()) else _judge_plain(text)
        if len(statement) <= MAX_CACHED_LENGTH:
            if len(_verdicts) >= MAX_VERDICTS:
                _verdicts.clear()
            _verdicts[statement] = verdict
    return verdict


def shape(statement: str | bytes) -> str:
    """*statement* without its data, on one line, for logs.

    Whether a backslash escapes the quote behind it depends on the session's ``sql_mode``. So the
    shape ends at the first one: to guess wrong would show what is inside the next literal.
    """
    text = statement.decode("latin-1") if isinstance(statement, bytes) else statement
    text, backslash, _ = text.partition("\\")
    shown = " ".join(_HIDDEN.sub(_without_data, text).split())
    return f"{shown[:SHOWN_SHAPE]} …" if backslash or len(shown) > SHOWN_SHAPE else shown


def _without_data(found: re.Match[str]) -> str:
    if found["comment"]:
        return " "
    return "?" if found["literal"] else found[0]


def _judge_plain(text: str) -> int:
    tokens = _tokens(text)
    if tokens is None:
        return DIRTY
    words = [name for kind, name in tokens if kind == "word"]
    if not words or words[0] not in _PLAIN_STARTS or not _FORBIDDEN.isdisjoint(words):
        return DIRTY
    if not all(_may_follow(tokens, index) for index in range(1, len(tokens))):
        return DIRTY
    return READS if _WRITES.isdisjoint(words) else WRITES


def _tokens(text: str) -> list[tuple[str, str]] | None:
    """Kind and lower-case text of each part but blanks; ``None`` if there is an unknown part."""
    found, position = [], 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        position = token.end()
        part = token.group()
        if not part.isspace():
            # Only ASCII: lower() would make a plain k of the Kelvin sign.
            part = part.lower() if part.isascii() else part
            found.append((token.lastgroup or "other", part))
    return found


def _may_follow(tokens: list[tuple[str, str]], index: int) -> bool:
    """Whether the part at *index* makes no suspect call of the one before it."""
    kind, _ = tokens[index]
    # A tuple among the parameters brings its own parentheses: "get_lock %s" is a call as well.
    if kind not in {"open", "placeholder"}:
        return True
    before, name = tokens[index - 1]
    if before == "word":
        qualified = index > 1 and tokens[index - 2][0] == "dot"
        return (name in _HARMLESS and not qualified) or _names_columns(tokens, index)
    return before != "quoted" or _names_columns(tokens, index)


def _names_columns(tokens: list[tuple[str, str]], index: int) -> bool:
    """Whether a parenthesis at *index* opens the column list of a table or of a WITH."""
    start = [name for _, name in tokens[: index - 1] if name != "("]
    if tokens[index][0] != "open":
        return False
    return start in (
        ["insert", "into"],
        ["insert", "ignore", "into"],
        ["replace", "into"],
        ["with"],
        ["with", "recursive"],
    )
