"""The benchmarks read what wrk prints."""

import pytest

from benchmarks import wrk

FIGURES = """\
Running 5s test @ http://127.0.0.1:45645/10
  1 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   609.03ms  291.13ms   1.03s    70.71%
    Req/Sec   140.67     97.82   262.00     33.33%
  Latency Distribution
     50%  701.36ms
     75%  826.22ms
     90%  916.86ms
     99%    {slow}
  990 requests in 5.03s, 24.27KB read
{problems}Requests/sec:    196.82
Transfer/sec:     23.46KB
"""


@pytest.mark.parametrize(
    ("slow", "seconds"), [("635.91us", 0.00063591), ("12.50ms", 0.0125), ("1.25s ", 1.25)]
)
def test_latency_has_several_units(slow: str, seconds: float) -> None:
    answers = wrk.parse(FIGURES.format(slow=slow, problems=""))
    assert answers.slow == pytest.approx(seconds)
    assert (answers.good, answers.errors, answers.seconds) == (990, 0, 5.03)


def test_requests_that_failed_do_not_count_as_good() -> None:
    problems = (
        "  Socket errors: connect 1, read 20, write 0, timeout 300\n"
        "  Non-2xx or 3xx responses: 90\n"
    )
    answers = wrk.parse(FIGURES.format(slow="1.25s", problems=problems))
    assert (answers.good, answers.errors) == (900, 411)


def test_output_without_figures_is_rejected() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:45645 Connection refused\n")
