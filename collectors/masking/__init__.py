"""Personal data and secrets, found and replaced before anything is stored."""

from tidegauge.collectors.masking.logs import mask_logs
from tidegauge.collectors.masking.masker import Masker

__all__ = ["Masker", "mask_logs"]
