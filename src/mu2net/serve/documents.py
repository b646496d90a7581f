"""What clients get: the JSON documents of the server."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mu2net.serve.service import Answer
from mu2net.system.classifier import LiveTask


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


_BIRDS: dict[str, Any] = {
    "name": "birds",
    "num_classes": 2,
    "validation": 0.942,
    "test": 0.937,
    "image_size": 96,
    "path": "birds/1/0/2",
    "is_private": False,
}


class ClassDocument(BaseModel):
    """A class and its probability."""

    label: str
    probability: float = Field(ge=0, le=1)


class PredictionDocument(BaseModel):
    """What a task says about an image."""

    label: str = Field(description="The most probable class.")
    probability: float = Field(ge=0, le=1)
    top: list[ClassDocument] = Field(description="The most probable classes, best first.")


class ImagePredictionDocument(BaseModel):
    """What a task says about an image, which is named."""

    image: str = Field(description="Name of the image: its file name, or image[INDEX].")
    label: str = Field(description="The most probable class.")
    probability: float = Field(ge=0, le=1)
    top: list[ClassDocument] = Field(description="The most probable classes, best first.")


class TaskPredictionsDocument(BaseModel):
    """What a task says about the images of a request."""

    model_config = _example(
        version=12,
        task="birds",
        predictions=[
            {
                "image": "photo.jpg",
                "label": "robin",
                "probability": 0.93,
                "top": [{"label": "robin", "probability": 0.93}, {"label": "wren", "probability": 0.04}],
            }
        ],
    )
    version: int = Field(description="Version of the system that answered.")
    task: str
    predictions: list[ImagePredictionDocument]


class ManyTasksDocument(BaseModel):
    """What several tasks say about an image."""

    image: str
    tasks: dict[str, PredictionDocument]


class ManyPredictionsDocument(BaseModel):
    """What several tasks say about the images of a request."""

    model_config = _example(
        version=12,
        predictions=[
            {
                "image": "photo.jpg",
                "tasks": {
                    "birds": {
                        "label": "robin",
                        "probability": 0.93,
                        "top": [{"label": "robin", "probability": 0.93}],
                    }
                },
            }
        ],
    )
    version: int = Field(description="Version of the system that answered.")
    predictions: list[ManyTasksDocument]


class TaskDocument(BaseModel):
    """A task in the list."""

    name: str
    num_classes: int
    validation: float | None = Field(description="Top-1 accuracy on the validation split.")
    test: float | None = Field(description="Top-1 accuracy on the test split.")
    image_size: int = Field(
        description="Side of the network's square input, in pixels; images of any size are welcome."
    )
    path: str = Field(description="Id of the path that answers.")
    is_private: bool


class TasksDocument(BaseModel):
    """All tasks that a client may use."""

    model_config = _example(version=12, tasks=[_BIRDS])
    version: int = Field(description="Version of the system that is served.")
    tasks: list[TaskDocument]


class SlotDocument(BaseModel):
    """A component of a path."""

    slot: str
    digest: str = Field(description="SHA-256 of its bytes.")
    task: str | None = Field(
        description="The task whose data trained it last; null for the root, and where you may not use it."
    )


class TaskDetailsDocument(TaskDocument):
    """All about a task."""

    model_config = _example(
        **_BIRDS,
        classes=["robin", "wren"],
        influence=["birds", "pets"],
        agent="budgeted",
        flops=140_600_000,
        slots=[
            {"slot": "block_14", "digest": "3f" * 32, "task": "pets"},
            {"slot": "block_15", "digest": "9a" * 32, "task": "birds"},
            {"slot": "head", "digest": "c4" * 32, "task": "birds"},
        ],
    )
    classes: list[str]
    influence: list[str] = Field(
        description="The tasks whose data shaped a parameter that answers, its own included; of those you may use."
    )
    agent: str
    flops: int | None = Field(description="FLOPs of one prediction.")
    slots: list[SlotDocument]


class StateDocument(BaseModel):
    """How the server is."""

    model_config = _example(status="ready")
    status: str


def task_document(task: LiveTask) -> TaskDocument:
    """Return a task as the list shows it."""
    metrics = task.path.metrics
    return TaskDocument(
        name=task.name,
        num_classes=len(task.classes),
        validation=metrics.quality if metrics else None,
        test=metrics.test if metrics else None,
        image_size=task.side,
        path=task.path.id,
        is_private=task.is_private,
    )


def task_details(task: LiveTask, visible: frozenset[str]) -> TaskDetailsDocument:
    """Return all about a task.

    Args:
        task: The task.
        visible: Tasks that the client may use; it learns of no others.
    """
    return TaskDetailsDocument(
        **task_document(task).model_dump(),
        classes=list(task.classes),
        influence=sorted(task.path.influence & visible),
        agent=task.path.agent,
        flops=task.path.metrics.flops if task.path.metrics else None,
        slots=[
            SlotDocument(
                slot=component.slot.name,
                digest=component.digest,
                task=component.task if component.task in visible else None,
            )
            for component in task.path.components
        ],
    )


def _prediction(answer: Answer, image: int, task: LiveTask, top_k: int) -> dict[str, Any]:
    best = [ClassDocument(label=label, probability=share) for label, share in answer.best(image, task, top_k)]
    return {"label": best[0].label, "probability": best[0].probability, "top": best}


def task_predictions(answer: Answer, top_k: int) -> TaskPredictionsDocument:
    """Return the answer of one task."""
    (task,) = answer.tasks
    predictions = [
        ImagePredictionDocument(image=name, **_prediction(answer, index, task, top_k))
        for index, name in enumerate(answer.images)
    ]
    return TaskPredictionsDocument(version=answer.version, task=task.name, predictions=predictions)


def many_predictions(answer: Answer, top_k: int) -> ManyPredictionsDocument:
    """Return the answer of several tasks."""
    predictions = [
        ManyTasksDocument(
            image=name,
            tasks={task.name: PredictionDocument(**_prediction(answer, index, task, top_k)) for task in answer.tasks},
        )
        for index, name in enumerate(answer.images)
    ]
    return ManyPredictionsDocument(version=answer.version, predictions=predictions)
