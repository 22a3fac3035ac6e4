"""Which statements provably leave nothing behind on a MySQL or MariaDB session.

Text can't prove that a session is dirty (a view may call a function that sets a variable),
so it is asked the other way round: a statement is *clean* only if it is one plain SELECT,
INSERT, UPDATE, DELETE or REPLACE that names no variable and calls nothing but the built-in
functions listed here. Whatever is not understood counts as dirty, which costs a reset and
never a leak. What hides behind tables (triggers, views over functions) is not visible in the
text: see :func:`pooldaemon.pool.session.hides_side_effects`.
"""

from __future__ import annotations

import re

MAX_CACHED_LENGTH = 4096
"""Longer statements (bulk inserts) are judged anew each time rather than kept in memory."""

MAX_VERDICTS = 4096
"""So many verdicts are remembered, then all are forgotten: cheaper than to order them by use."""

_PLAIN_START = re.compile(r"[\s(]*(?:select|insert|update|delete|replace|with)\b", re.IGNORECASE)

# Savepoints end with their transaction, and that the transaction has ended is checked apart.
_SAVEPOINT = re.compile(r"(?:rollback to |release )?savepoint `\w+`", re.IGNORECASE)

# Variables, a second statement, comments (some are executed), results kept on the server.
_FORBIDDEN = re.compile(
    r"[@;#]|--|/\*|\binto\s+(?:outfile|dumpfile)\b|\bsql_calc_found_rows\b|\bnext\s+value\b"
    r"|\bprocedure\b|\bsys\s*[.`]",
    re.IGNORECASE,
)

# The column list of an INSERT looks like a call of the table's name.
_INSERT_TARGET = re.compile(
    r"^\s*(?:insert|replace)\s+(?:ignore\s+)?into\s+(?:`[^`]+`|[\w$]+)\s*\(", re.IGNORECASE
)

# So does the column list of a statement's first common table expression.
_WITH_NAME = re.compile(r"^[\s(]*with\s+(?:recursive\s+)?(?:`[^`]+`|[\w$]+)\s*\(", re.IGNORECASE)

_CALL = re.compile(r"([.]?)\s*(`[^`]*`|\"[^\"]*\"|[\w$\x80-\U0010ffff]+)\s*\(")

_KEYWORDS = """
    all and any as between by case cross distinct distinctrow div else except exists for force from
    group having ignore in index inner intersect into join key lateral like limit mod not of offset
    on or order outer over partition regexp return returning rlike select set some straight_join
    then union using value values when where with within xor
"""

_BUILT_INS = """
    abs acos adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg bin
    bit_and bit_count bit_length bit_or bit_xor cast ceil ceiling char char_length
    character_length coalesce concat concat_ws conv convert convert_tz cos cot count crc32
    cume_dist curdate current_date current_time current_timestamp curtime date date_add
    date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear degrees dense_rank
    elt exp export_set extract field find_in_set first_value floor format from_base64 from_days
    from_unixtime greatest group_concat grouping hex hour if ifnull inet6_aton inet6_ntoa
    inet_aton inet_ntoa insert instr interval is_uuid isnull json_array json_array_append
    json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth
    json_detailed json_extract json_insert json_keys json_length json_merge json_merge_patch
    json_merge_preserve json_object json_objectagg json_overlaps json_pretty json_query
    json_quote json_remove json_replace json_search json_set json_type json_unquote json_valid
    json_value lag last_day last_value lcase lead least left length ln localtime localtimestamp
    locate log log10 log2 lower lpad ltrim make_set makedate maketime max md5 microsecond mid min
    minute mod month monthname now nth_value ntile nullif oct octet_length ord percent_rank
    percentile_cont percentile_disc period_add period_diff pi point position pow power quarter
    quote radians rand random_bytes rank regexp_instr regexp_like regexp_replace regexp_substr
    repeat replace reverse right round row row_number rpad rtrim sec_to_time second sha sha1 sha2
    sign sin sleep soundex space sqrt std stddev stddev_pop stddev_samp str_to_date strcmp subdate
    substr substring substring_index subtime sum sysdate tan time time_format time_to_sec
    timediff timestamp timestampadd timestampdiff to_base64 to_days to_seconds trim truncate
    ucase unhex unix_timestamp upper utc_date utc_time utc_timestamp uuid uuid_short uuid_to_bin
    bin_to_uuid var_pop var_samp variance version week weekday weekofyear weight_string year
    yearweek
    charset coercibility collation connection_id current_user database schema session_user
    system_user user version
    against match
    varchar binary varbinary decimal numeric signed unsigned datetime float double
"""

_HARMLESS = frozenset((_KEYWORDS + _BUILT_INS).split())


_verdicts: dict[str | bytes, bool] = {}


def is_clean(statement: str | bytes) -> bool:
    """Whether *statement* provably leaves the session as it found it.

    Give the template, before parameters are put in, where there is one: parameters are
    literals and can't change the verdict, and a template is judged once. Thread-safe.
    """
    verdict = _verdicts.get(statement)
    if verdict is None:
        verdict = _judge(statement)
        if len(statement) <= MAX_CACHED_LENGTH:
            if len(_verdicts) >= MAX_VERDICTS:
                _verdicts.clear()
            _verdicts[statement] = verdict
    return verdict


def _judge(statement: str | bytes) -> bool:
    if isinstance(statement, bytes):
        # Latin-1 maps every byte to one character and keeps ASCII, all the grammar needs.
        statement = statement.decode("latin-1")
    if not _PLAIN_START.match(statement):
        return _SAVEPOINT.fullmatch(statement.strip()) is not None
    if _FORBIDDEN.search(statement):
        return False
    body = _WITH_NAME.sub(" ( ", _INSERT_TARGET.sub(" ( ", statement))
    return all(not dot and name.lower() in _HARMLESS for dot, name in _CALL.findall(body))
