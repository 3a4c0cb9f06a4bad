"""The reference page is what the model says."""

from pathlib import Path

from tidegauge.config_reference import reference

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"


def test_the_reference_page_is_the_one_that_the_model_makes() -> None:
    assert PAGE.read_text().strip() == reference().strip(), "run: tidegauge config reference > docs/configuration.md"
