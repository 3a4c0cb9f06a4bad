"""The statistics: pure functions on counts and arrays, one idea a file.

Each compares a reference with a current window and returns a ``Result``, all of whose numbers are finite, or
``Undetermined`` with the reason. None reads a clock, a file or a global random state, and none gives the verdict.
"""

from tidegauge.detectors.statistics.anderson_darling import anderson_darling
from tidegauge.detectors.statistics.bins import CategoryBins, NumericBins
from tidegauge.detectors.statistics.c2st import c2st
from tidegauge.detectors.statistics.chi_squared import chi_squared
from tidegauge.detectors.statistics.duplicates import duplicates, repeated_ids
from tidegauge.detectors.statistics.fdr import benjamini_hochberg, e_benjamini_hochberg
from tidegauge.detectors.statistics.hellinger import hellinger
from tidegauge.detectors.statistics.jensen_shannon import jensen_shannon
from tidegauge.detectors.statistics.kl import kl
from tidegauge.detectors.statistics.kolmogorov_smirnov import ks
from tidegauge.detectors.statistics.lost_categories import lost_categories
from tidegauge.detectors.statistics.mean_shift import mean_shift
from tidegauge.detectors.statistics.missing import missing_share, non_finite_share
from tidegauge.detectors.statistics.mmd import mmd
from tidegauge.detectors.statistics.new_categories import new_categories
from tidegauge.detectors.statistics.out_of_range import out_of_range
from tidegauge.detectors.statistics.outliers import outliers
from tidegauge.detectors.statistics.psi import psi
from tidegauge.detectors.statistics.quantile_shift import quantile_shift
from tidegauge.detectors.statistics.random_features import Buckets, FeatureMap, random_features
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined
from tidegauge.detectors.statistics.risen_category import risen_category
from tidegauge.detectors.statistics.variance_shift import variance_shift
from tidegauge.detectors.statistics.volume import volume
from tidegauge.detectors.statistics.wasserstein import wasserstein
from tidegauge.detectors.statistics.wrong_type import wrong_type

__all__ = [
    "Buckets",
    "CategoryBins",
    "FeatureMap",
    "NumericBins",
    "Outcome",
    "Result",
    "Undetermined",
    "anderson_darling",
    "benjamini_hochberg",
    "c2st",
    "chi_squared",
    "duplicates",
    "e_benjamini_hochberg",
    "hellinger",
    "jensen_shannon",
    "kl",
    "ks",
    "lost_categories",
    "mean_shift",
    "missing_share",
    "mmd",
    "new_categories",
    "non_finite_share",
    "out_of_range",
    "outliers",
    "psi",
    "quantile_shift",
    "random_features",
    "repeated_ids",
    "risen_category",
    "variance_shift",
    "volume",
    "wasserstein",
    "wrong_type",
]
