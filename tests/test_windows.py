"""Windows of long documents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from microgpt.windows import windows


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(1, 20))
def test_every_token_after_the_first_is_predicted_once_and_no_window_is_too_long(tokens: list[int], block: int) -> None:
    pieces = [list(piece) for piece in windows(tokens, block)]
    assert all(2 <= len(piece) <= block + 1 for piece in pieces)
    assert [token for piece in pieces for token in piece[1:]] == tokens[1:]
    assert [piece[0] for piece in pieces] == tokens[:-1:block]


def test_a_document_that_fits_is_its_own_only_window() -> None:
    assert list(windows([5, 1, 2, 5], 3)) == [[5, 1, 2, 5]]
