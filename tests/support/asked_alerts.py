"""Alerts that hypothesis makes up."""

from hypothesis import strategies as st

Asked = tuple[int | None, str, int | None, int | None]
"""What an alert asks for: provider, condition, threshold and seconds."""


def asked(provider: int | None, condition: str, threshold: int, for_s: int) -> Asked:
    """Return an alert that is fit, from anything."""
    if condition == "silent":
        return provider, condition, None, for_s
    return provider, condition, max(threshold, 1) if condition == "change" else threshold, None


def of(*providers: int | None) -> st.SearchStrategy[Asked]:
    """Return what makes up alerts of one of these."""
    return st.builds(
        asked,
        st.sampled_from(providers),
        st.sampled_from(["below", "above", "change", "silent"]),
        st.integers(-3, 3),
        st.sampled_from([30, 60, 61, 120, 180]),
    )
