"""Data parallelism: a replica of the model on each device, and torch's DistributedDataParallel between them."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from torchestimator.strategy.averaging import average
from torchestimator.strategy.replicated import Replicated


class DDP(Replicated):
    """A process per device with the whole model in each; gradients are averaged by DistributedDataParallel.

    What `strategy="auto"` chooses under torchrun, in a SLURM job and in a TF_CONFIG cluster. Batches
    are per replica: with 4 processes and batches of 32 each step sees 128 examples. An input_fn
    that asks for `input_context` shares the data out itself; everything else is shared out by batches.

    The first step averages the gradients after the backward pass, and so finds out which are sparse
    and which parameters get none; those stay apart, and from then on the others are averaged during
    the backward pass. A train_op with several losses (GANs) goes on as in the first step.

    Args:
        device: "cpu" or "cuda"; None: CUDA if there is any.
        bucket_cap_mb: megabytes of gradients that travel together.
        find_unused_parameters: whether different batches leave out different parameters, which
            costs a look at the whole graph in each step.
    """

    def __init__(
        self, device: str | None = None, *, bucket_cap_mb: float = 25, find_unused_parameters: bool = False
    ) -> None:
        super().__init__(device)
        if not bucket_cap_mb > 0:
            raise ValueError(f"`bucket_cap_mb` must be a positive number of megabytes. Received: {bucket_cap_mb!r}.")
        self._bucket_cap_mb = bucket_cap_mb
        self._find_unused = find_unused_parameters
        self._replica: _Replica | None = None

    def __repr__(self) -> str:
        return f"DDP({self._kind!r})"

    def place(self, module: nn.Module) -> None:
        """See `Strategy.place`: each process has built its replica on its own device."""

    def wrap(self, module: nn.Module, signal_length: int, at_once: bool) -> nn.Module:
        """See `Replicated.wrap`."""
        self._replica = _Replica(module, signal_length, self.device)
        self._may_overlap = at_once
        self._apart: list[int] = []
        return self._replica

    def begin_step(self, signal: Tensor, update_follows: bool) -> None:
        """See `Replicated.begin_step`."""
        assert self._replica is not None
        self._signal, self._update_follows = signal, update_follows
        if self._replica.parallel is not None:
            # What its `no_sync` sets; as a block it would have to enclose model_fn and the backward pass.
            self._replica.parallel.require_backward_grad_sync = update_follows

    def backward(
        self,
        loss: Tensor,
        inputs: list[nn.Parameter] | None,
        retain_graph: bool,
        update_follows: bool,  # noqa: ARG002 - `begin_step` has said so before the forward pass
    ) -> None:
        """See `Strategy.backward`."""
        assert self._replica is not None
        if self._replica.parallel is not None and self._update_follows:
            loss = _Carry.apply(loss, self._replica.carried, self._signal)  # type: ignore[no-untyped-call]
            self._replica.carried = None
        loss.backward(retain_graph=retain_graph, inputs=inputs)  # type: ignore[no-untyped-call]

    def reduce_step(
        self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]
    ) -> tuple[Tensor, Sequence[Tensor | None] | None]:
        """See `Replicated.reduce_step`."""
        replica = self._replica
        assert replica is not None
        if not self._update_follows:
            return self._mean(self._signal), None
        if replica.parallel is None:
            signal, averaged, apart = average(self._signal, parameters, gradients, self.num_replicas)
            if self._may_overlap:
                self._apart = apart
                ignored = [parameters[index] for index in apart]
                replica.overlap(ignored, self._bucket_cap_mb, self._find_unused)
            return signal, averaged
        mean = replica.carrier.grad
        replica.carrier.grad = None
        assert mean is not None
        if not self._apart:
            return mean, None
        rest = self.average([parameters[index] for index in self._apart], [gradients[index] for index in self._apart])
        changed = list(gradients)
        for index, gradient in zip(self._apart, rest, strict=True):
            changed[index] = gradient
        return mean, changed

    def stack(self, value: Tensor) -> Tensor:
        """See `Replicated.stack`: gradients that wait for an update are each replica's own."""
        # Over half a second of loading, for a checkpoint in the middle of an accumulation window.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Shard

        mesh = init_device_mesh(self._kind, (self.num_replicas,))
        return DTensor.from_local(value[None], mesh, [Shard(0)], run_check=False)

    def average(
        self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]
    ) -> Sequence[Tensor | None]:
        """See `Replicated.average`."""
        return average(None, parameters, gradients, self.num_replicas)[1]

    def _mean(self, signal: Tensor) -> Tensor:
        dist.all_reduce(signal)
        return signal.div_(self.num_replicas)


class _Replica(nn.Module):
    """What a training step calls: the model, at first as it is, then in a DistributedDataParallel."""

    def __init__(self, module: nn.Module, signal_length: int, device: torch.device) -> None:
        super().__init__()
        self.module = module
        self.carrier = nn.Parameter(torch.zeros(signal_length, device=device))
        self.carried: Tensor | None = None
        self.parallel: nn.parallel.DistributedDataParallel | None = None

    def forward(self, features: Any, labels: Any = None) -> Any:
        if self.parallel is None:
            return self.module(features, labels)
        spec, self.carried = self.parallel(features, labels)
        return spec

    def overlap(self, apart: Sequence[nn.Parameter], bucket_cap_mb: float, find_unused: bool) -> None:
        """From the next step on, gradients are averaged while the backward pass runs, but for those that stay apart."""
        body = _Body(self.module, self.carrier)
        ignored = [name for name, parameter in body.named_parameters() if any(parameter is each for each in apart)]
        nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(body, ignored)  # type: ignore[no-untyped-call]
        self.parallel = nn.parallel.DistributedDataParallel(
            body, bucket_cap_mb=bucket_cap_mb, find_unused_parameters=find_unused, gradient_as_bucket_view=True
        )


class _Body(nn.Module):
    """The model and the parameter whose gradient is the signal."""

    def __init__(self, module: nn.Module, carrier: nn.Parameter) -> None:
        super().__init__()
        self.module = module
        self.carrier = carrier

    def forward(self, features: Any, labels: Any = None) -> tuple[Any, Tensor]:
        # The carrier is among what is returned, so that it counts as used.
        return self.module(features, labels), self.carrier.view_as(self.carrier)


class _Carry(torch.autograd.Function):
    """Hands a loss on, and gives a parameter any values as its gradient, which then travel with the others."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, carrier: Tensor, signal: Tensor) -> Tensor:  # noqa: ARG004
        ctx.signal = signal
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return gradient, ctx.signal, None
