"""Files of predictions and labels into a running service, each row once; what `tidegauge load` does."""

from tidegauge.collectors.load.journal import Journal, default_path
from tidegauge.collectors.load.loader import Loaded, Loader, understood
from tidegauge.collectors.load.meaning import Meaning
from tidegauge.collectors.load.sources import Source, sources

__all__ = ["Journal", "Loaded", "Loader", "Meaning", "Source", "default_path", "sources", "understood"]
