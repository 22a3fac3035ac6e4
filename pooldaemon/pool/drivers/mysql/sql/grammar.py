"""The part of SQL that is understood here: words, and parts of regular expressions.

Contains only what MySQL and MariaDB read alike in every ``sql_mode`` and character set that a pool
admits. All else is not understood: ``@`` (variables), ``;`` (a second statement), ``{`` and ``\\``
(ODBC's calls, escapes), and blanks other than ASCII's, which some character sets have and others
take for letters. The patterns are for text in lower case, see :func:`lowered`.
"""

from __future__ import annotations

from collections.abc import Iterable

# Where the driver puts data in place of "%". A conversion other than %s takes none, or fails.
_DATA = r"(?:\(|[#0 +\-]*+(?:\*|\d*+)(?:\.(?:\*|\d*+))?[hlL]?[csrab])"
PERCENT = rf"(?:%%|%(?!{_DATA}))"
# In a statement without data, it is the operator % and a word.
PLACEHOLDER = r"%(?:s|\(\w+\)s)(?![\w$])"

# Plain comments only: the server runs what follows /*! and /*M!, and hints (/*+) may set variables.
COMMENT = (
    rf"(?:/\*(?![!+]|[mM]!)(?:[^*%]|{PERCENT}|\*(?!/))*+\*/"
    rf"|(?:\#|--(?=[ \t\n\r\v\f]|\Z))(?:[^\n%]|{PERCENT})*+)"
)
BLANK = r"[ \t\n\r\v\f]"
GAP = rf"(?:{BLANK}|{COMMENT})*+"
END = r"(?![\w$])"

STRING = rf"'(?:[^'\\%]|{PERCENT})*+'"
# After a name and a dot comes another name, which may consist of digits.
_FRACTION = r"(?<![\w$`\"])\.\d++"
NUMBER = rf"(?:0[xX][0-9A-Fa-f]+{END}|(?:\d++(?:\.\d*+)?|{_FRACTION})(?:[eE][+-]?\d++)?{END})"
WORD = r"(?:[^\W\d]|\$)[\w$]*+"
# What is in double quotes is a name in the mode ANSI_QUOTES.
QUOTED = rf'(?:`(?:[^`%]|{PERCENT})++`|"(?:[^"\\%]|{PERCENT})*+")'
OPERATOR = (
    r"(?:->>?|<=>?|>=?|<>|!=|\|\|?|&&?|<<|>>|-(?!-)|/(?!\*)|\*(?!/)"
    rf"|[),(=+^~!<>?]|{PERCENT})"
)

# Keywords that may precede a parenthesis, the frequent ones first.
KEYWORDS = """
    in and or when then values value where not on as by like else limit
    all any between case columns cross distinct distinctrow div escape except exists for force from
    group having ignore index inner intersect into is join key lateral mod of offset order outer
    over partition regexp returning rlike select separator set some straight_join union using with
    within xor _ascii _binary _latin1 _utf8 _utf8mb3 _utf8mb4
"""

BUILT_INS = """
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
    json_remove json_replace json_search json_set json_table json_type json_unquote json_valid
    json_value lag last_day last_value lcase lead least left length ln localtime localtimestamp
    locate log log10 log2 lower lpad ltrim make_set makedate maketime match max md5 microsecond mid
    min minute month monthname now nth_value ntile nullif numeric oct octet_length ord percent_rank
    percentile_cont percentile_disc period_add period_diff pi point position pow power quarter quote
    radians rand random_bytes rank regexp_instr regexp_like regexp_replace regexp_substr repeat
    replace reverse right round row row_number rpad rtrim schema sec_to_time second session_user
    sha sha1 sha2 sign signed sin sleep soundex space sqrt std stddev stddev_pop stddev_samp
    str_to_date strcmp subdate substr substring substring_index subtime sum sysdate system_user tan
    time time_format time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_days
    to_seconds trim truncate ucase unhex unix_timestamp unsigned upper user utc_date utc_time
    utc_timestamp uuid uuid_short uuid_to_bin var_pop var_samp varbinary varchar variance version
    week weekday weekofyear weight_string year yearweek
"""

CALLABLE = (KEYWORDS + BUILT_INS).split()

# Words with which a plain statement does more: it writes a file on the server, analyses or counts
# the rows of a SELECT, or reads a sequence.
FORBIDDEN_WORDS = frozenset(
    {"outfile", "dumpfile", "procedure", "sql_calc_found_rows", "next", "previous"}
)

# Names with the same effect, quoted or not: columns of a sequence as in Oracle, and the schema
# whose views call functions that set variables.
FORBIDDEN_NAMES = frozenset({"nextval", "currval", "sys"})

# Built-in functions that depend on the session, change it, or concern others. The server prefers
# them to stored functions of the same name.
HARMFUL_BUILT_INS = frozenset(
    """
    benchmark found_rows get_lock is_free_lock is_used_lock lastval last_insert_id load_file
    master_gtid_wait master_pos_wait name_const nextval ps_current_thread_id ps_thread_id
    release_all_locks release_lock row_count setval source_pos_wait wait_for_executed_gtid_set
    wait_until_sql_thread_after_gtids
""".split()  # noqa: SIM905
)

SYSTEM_SCHEMAS = frozenset({"information_schema", "mysql", "performance_schema", "sys"})

# Others show the state of the session, such as session_variables, or change it.
_STATUS = ("global_status", "global_variables", "session_status")
TABLES_OF_THE_SERVER = {
    "information_schema": (
        "character_sets", "check_constraints", "collations", "columns", "key_column_usage",
        "partitions", "referential_constraints", "routines", "schemata", "statistics",
        "table_constraints", "tables", "triggers", "views", *_STATUS,
    ),
    "performance_schema": _STATUS,
}  # fmt: skip
"""By schema, the tables that a clean statement may name."""


def one_of(words: Iterable[str]) -> str:
    """Any of these words."""
    return f"(?:{'|'.join(words)}){END}"


def lowered(text: str) -> str:
    """*text* with ASCII's letters in lower case. Others stay: the Kelvin sign would become a k."""
    return text.lower() if text.isascii() else text.translate(_SMALL)


_SMALL = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
