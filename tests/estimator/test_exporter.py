"""The contract of exporters."""

import pytest

import torchestimator as te


def test_name_and_export_must_be_there():
    with pytest.raises(TypeError, match="abstract"):
        te.Exporter()

    class Half(te.Exporter):
        @property
        def name(self):
            return "half"

    with pytest.raises(TypeError, match="export"):
        Half()
