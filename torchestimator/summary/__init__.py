"""TensorBoard summaries: record values inside model_fn, write and read event files.

```python
def model_fn(features, labels, mode):
    ...
    te.summary.scalar("logits/mean", logits.mean())
    te.summary.histogram("activations", hidden)
    te.summary.image("input", features["image"])
```
 The recording functions may stand in every step: they do nothing on the steps that are not recorded. Event files are
read by TensorBoard, and by `torchestimator.summary.reader` for early stopping.
"""

from torchestimator.summary.figures import confusion_matrix_image
from torchestimator.summary.record import audio, histogram, image, scalar, should_record_summaries, text
from torchestimator.summary.writer import event_writer

__all__ = [
    "audio",
    "confusion_matrix_image",
    "event_writer",
    "histogram",
    "image",
    "scalar",
    "should_record_summaries",
    "text",
]
