"""Which versions made an answer, and which answers a version made."""

from tidegauge.dashboards.lineage.affected import Affected, Touched, affected, export
from tidegauge.dashboards.lineage.trace import UNKNOWN, lineage
from tidegauge.dashboards.lineage.versions import VERSIONS, Selection

__all__ = ["UNKNOWN", "VERSIONS", "Affected", "Selection", "Touched", "affected", "export", "lineage"]
