"""What ``SHOW GRANTS`` says of the privileges on a schema."""

import pytest

from pooldaemon.pool.drivers.mysql.sql.privileges import Rights


@pytest.mark.parametrize(
    ("grants", "covered"),
    [
        (["GRANT USAGE ON *.* TO `a`@`%`"], False),
        (["GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION"], True),
        (["GRANT SELECT, INSERT, TRIGGER ON `shop`.* TO `a`@`%`"], True),
        (['GRANT SELECT, TRIGGER ON "shop".* TO "a"@"%"'], True),
        (["GRANT SELECT ON `shop`.* TO `a`@`%`", "GRANT TRIGGER ON `shop`.* TO PUBLIC"], True),
        (["GRANT TRIGGER ON `shopping`.* TO `a`@`%`"], False),
        (["GRANT TRIGGER ON `shop`.`t` TO `a`@`%`"], False),
        (["GRANT TRIGGER ON `sh%`.* TO `a`@`%`"], True),
        (["GRANT TRIGGER ON `sho_`.* TO `a`@`%`"], True),
        ([r"GRANT TRIGGER ON `sho\_`.* TO `a`@`%`"], False),
        # The server takes the most particular one alone.
        (["GRANT TRIGGER ON `sh%`.* TO `a`@`%`", "GRANT SELECT ON `shop`.* TO `a`@`%`"], False),
        (["GRANT TRIGGER ON *.* TO `a`@`%`", "REVOKE TRIGGER ON `shop`.* FROM `a`@`%`"], False),
        (["GRANT PROXY ON ''@'' TO 'a'@'%'", "GRANT `r`@`%` TO `a`@`%`"], False),
    ],
)
def test_a_privilege_on_all_of_a_schema(grants: list[str], covered: bool) -> None:
    assert Rights.parse(grants).cover("shop", "TRIGGER") is covered


@pytest.mark.parametrize(
    ("grants", "watched"),
    [
        (["GRANT SELECT ON `shop`.* TO `a`@`%`"], True),
        (["GRANT INSERT ON `shop`.* TO `a`@`%`"], False),
        (["GRANT SELECT, INSERT (`b`, `c`) ON `shop`.`t` TO `a`@`%`"], False),
        (["GRANT INSERT (`b`), TRIGGER ON `shop`.`t` TO `a`@`%`"], True),
        (["GRANT TRIGGER ON `shop`.`t` TO `a`@`%`", "GRANT DELETE ON *.* TO `a`@`%`"], False),
    ],
)
def test_whether_the_triggers_of_all_that_may_be_written_are_seen(
    grants: list[str], watched: bool
) -> None:
    assert Rights.parse(grants).watches_what_it_writes("shop") is watched
