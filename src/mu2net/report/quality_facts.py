"""What the pictures show of right and wrong answers; a part of the document in ``report.data``."""

from __future__ import annotations

from mu2net.report.facts import Facts


class BinFacts(Facts):
    """Answers of a range of confidence.

    Args:
        low: Where it begins, in [0, 1].
        high: Where it ends.
        count: Images in it.
        confidence: Mean probability of their best class.
        accuracy: Share of them that is right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class ClassFacts(Facts):
    """A class.

    Args:
        name: Its name.
        train: Training images.
        test: Test images.
        correct: Test images of it that are answered with it.
        answered: Test images of any class that are.
    """

    name: str
    train: int
    test: int
    correct: int
    answered: int


class ConfusionFacts(Facts):
    """A frequent mistake.

    Args:
        label: The class.
        answer: The class that it is taken for.
        count: How often.
    """

    label: str
    answer: str
    count: int


class MistakeFacts(Facts):
    """A test image of which the path is wrongly sure.

    Args:
        index: Its place in the test split.
        label: Its class.
        answer: The answer.
        confidence: Probability of the answer.
        thumbnail: The image, small: base64 of a JPEG.
    """

    index: int
    label: str
    answer: str
    confidence: float
    thumbnail: str


class QualityFacts(Facts):
    """What a task's live path gets right and wrong on its test images.

    Args:
        task: The task.
        problem: Why nothing was measured; empty where something was.
        images: Test images.
        accuracy: Share that is right.
        calibration_error: Expected calibration error (arXiv 1706.04599, equation 3).
        bins: Confidence and accuracy by ranges of confidence, without empty ones.
        classes: The classes.
        confusion: Images by class (rows) and answer (columns); empty for tasks of very many classes.
        confusions: The most frequent mistakes, most frequent first.
        mistakes: The most confident mistakes; none of private tasks.
    """

    task: str
    problem: str = ""
    images: int = 0
    accuracy: float = 0.0
    calibration_error: float = 0.0
    bins: tuple[BinFacts, ...] = ()
    classes: tuple[ClassFacts, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    confusions: tuple[ConfusionFacts, ...] = ()
    mistakes: tuple[MistakeFacts, ...] = ()
