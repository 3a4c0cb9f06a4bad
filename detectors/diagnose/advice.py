"""What to do next about each kind of cause, with commands where there are some."""

from __future__ import annotations

from collections.abc import Mapping

from tidegauge.detectors.diagnose.verdict import Verdict, part_text

UNKNOWN = "compare one example from before with one from since: tidegauge trace PREDICTION_ID"
STEPS: Mapping[str, str] = {
    "duplicates": "look for a producer that retries or logs twice; until then count predictions by id",
    "ids missing": "find the release of the logging code that stopped sending prediction_id",
    "clock": "check the clocks of the services that log, and whether a backfill runs",
    "volume drop": "compare with the requests that the service counted; look for a caller that left, or lost logs",
    "volume rise": "look for a new caller or a retry storm",
    "part gone": "ask what routes {part}: a caller, a feed or its logging is gone; the model needs no change",
    "part shrank": "ask what routes {part}; weigh reports by part until the mix is back",
    "part grew": "ask what routes {part}; weigh reports by part, and retrain if the mix stays",
    "labels missing": "check the job that delivers labels for {part}; do not retrain on what has come",
    "labels late": "wait with any judgement of quality until labels are in; check the job that delivers them",
    "label keys broken": "compare an id in labels with one in predictions; mend the join and send the labels again",
    "labels contradict": "find the two sources of labels; the last by event time holds",
    "label class lost": "check the filter of the job that delivers labels; do not retrain on what has come",
    "labels flipped": "check the definition of the label in {part}; do not retrain; send the labels again once mended",
    "units": "ask who delivers {subject} what its unit is; convert at the source, then replay what was scored since",
    "stuck": "check the feed of {subject}: it answers with one value",
    "default value": "check the feed of {subject}: something fills in a default where it used to be known",
    "precision lost": "check who rounds {subject}, and whether its column changed its type",
    "outliers": "look at the largest values of {subject} with their source; bound them before the model",
    "missing": "check the feed and the join of {subject} for {part}",
    "type changed": "check the schema of {subject}: the model most likely reads nothing there now",
    "new feature": "make sure that the model knows {subject}",
    "new category": "map the new name to the old one before the model, or retrain with it",
    "swapped": "check the order of columns where {subject} are filled in",
    "clock shifted": "check the time zone in which {subject} is computed",
    "stale": "check when the feed of {subject} last ran: it is a day behind",
    "joined wrongly": "check the key by which {subject} is joined; compare rows with their source",
    "skew": "compare the code that computes {subject} for serving with that for training",
    "moved": "ask whether the world moved ({subject}); nothing says that a fault did it",
    "concept": "inputs and model are as before, outcomes not: ask what changed for {part}, then retrain",
    "new version": "roll {subject} back; list what it touched: tidegauge affected --model-version {subject}",
    "scores off": "compare the served model and its calibration with the registered one",
    "threshold changed": "ask who changed the threshold; it is part of the model's version",
    "decisions moved": "look at what is above this in the list: decisions follow from it",
    "usage missing": "find the release that stopped reporting tokens: cost and rate limits are blind without them",
    "topics moved": "read some of the new questions: add their documents and test cases, or route them elsewhere",
    "retrieval empty": "check the index and its filters for {part}: is it built, and does the query reach it?",
    "retrieval fails": "check the vector store that {part} asks, and its credentials",
    "retrieval worse": "compare the documents found for one question before and since; check index and embedding model",
    "retrieval slow": "look at the vector store's load and the size of the index",
    "tool fails": "call {subject} by hand with the arguments of a failed call; compare its schema with the prompt's",
    "provider errors": "look at the provider's status page and limits ({subject}); switch to the fallback model",
    "provider slow": "look at the provider's status page; compare with another model or region at the same time",
    "first token late": "look at the provider's queue and at the length of prompts",
    "refusals up": "read some refused requests of {part}: what do they have in common?",
    "blocks up": "read some requests that {subject} blocked: is it right to?",
    "answers cut": "raise the limit of tokens, or ask for shorter answers",
    "price moved": "compare the model that answers with the one that was ordered, and its price list",
    "cost up": "look at what is above this in the list; tidegauge shows cost per tenant and model",
    "feedback down": "look at what is above this in the list: users follow it",
    "quality down": "look at what is above this in the list: quality follows it",
    "new prompt": "roll prompt {subject} back for its share of the traffic, or test it on the golden set",
    "new model": "compare {subject} with the model before on the golden set; roll back until then",
    "loss up": "look at what is above this in the list: the loss follows from it",
}


def step(finding: Verdict) -> str:
    """The next step for a cause."""
    text = STEPS.get(finding.cause, UNKNOWN)
    return text.replace("{part}", part_text(finding.part)).replace("{subject}", finding.subject or "it")
