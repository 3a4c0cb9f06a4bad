"""The check that nothing vanishes: accepted = stored + in flight + dead-lettered + duplicates + lost."""

from tidegauge.collectors.reconcile.report import Account, Gap, Report
from tidegauge.collectors.reconcile.runner import Reconciler

__all__ = ["Account", "Gap", "Reconciler", "Report"]
