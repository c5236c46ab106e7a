"""Five pruners as students of assignment one hand them in: its interface, its ways (scores by id, .backward, kthvalue).

Faults of the published code are kept: ties at the threshold all go, shuffle permutes a copy, gradients of zero are left
behind, what is pruned can come back.
"""

import torch


class Pruner:
    def __init__(self, masked_parameters):
        self.masked_parameters = list(masked_parameters)
        self.scores = {}

    def _cut(self, scores, density):
        """The threshold: what is not above it goes; None if nothing does."""
        gone = int((1.0 - density) * scores.numel())
        return torch.kthvalue(scores, gone).values if gone >= 1 else None

    def mask(self, density, scope):
        cut = None
        if scope == "global":
            cut = self._cut(torch.cat([score.flatten() for score in self.scores.values()]), density)
        for mask, parameter in self.masked_parameters:
            score = self.scores[id(parameter)]
            if scope == "local":
                cut = self._cut(score.flatten(), density)
            if cut is not None:
                mask.copy_((score > cut).to(mask.dtype))

    @torch.no_grad()
    def apply_mask(self):
        for mask, parameter in self.masked_parameters:
            parameter.mul_(mask)

    def shuffle(self):
        for mask, _ in self.masked_parameters:
            mask = mask.flatten()[torch.randperm(mask.numel())].reshape(mask.shape)

    def stats(self):
        kept = sum(mask.sum().item() for mask, _ in self.masked_parameters)
        return kept, sum(mask.numel() for mask, _ in self.masked_parameters)


class Rand(Pruner):
    def score(self, model, loss, dataloader, device):
        for _, parameter in self.masked_parameters:
            self.scores[id(parameter)] = torch.randn_like(parameter)


class Mag(Pruner):
    def score(self, model, loss, dataloader, device):
        for _, parameter in self.masked_parameters:
            self.scores[id(parameter)] = parameter.detach().clone().abs_()


class SNIP(Pruner):
    def score(self, model, loss, dataloader, device):
        for mask, _ in self.masked_parameters:
            mask.requires_grad = True
        for data, target in dataloader:
            loss(model(data.to(device)), target.to(device)).backward()
        for mask, parameter in self.masked_parameters:
            self.scores[id(parameter)] = mask.grad.detach().abs()
            parameter.grad.zero_()
            mask.grad.zero_()
            mask.requires_grad = False
        norm = sum(score.sum() for score in self.scores.values())
        for score in self.scores.values():
            score.div_(norm)


class GraSP(Pruner):
    temperature, eps = 200, 1e-10

    def _gradients(self, model, loss, batch, device, graph):
        data, target = batch
        value = loss(model(data.to(device)) / self.temperature, target.to(device))
        return torch.autograd.grad(value, [parameter for _, parameter in self.masked_parameters], create_graph=graph)

    def score(self, model, loss, dataloader, device):
        stopped = 0
        for batch in dataloader:
            stopped += torch.cat([g.flatten() for g in self._gradients(model, loss, batch, device, False)])
        for batch in dataloader:
            flat = torch.cat([g.flatten() for g in self._gradients(model, loss, batch, device, True)])
            (stopped * flat).sum().backward()
        for _, parameter in self.masked_parameters:
            self.scores[id(parameter)] = (parameter.grad * parameter).detach().clone()
            parameter.grad.zero_()
        norm = sum(score.sum() for score in self.scores.values()).abs() + self.eps
        for score in self.scores.values():
            score.div_(norm)


class SynFlow(Pruner):
    def score(self, model, loss, dataloader, device):
        signs = {}
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                signs[name] = torch.sign(tensor)
                tensor.abs_()
        data = next(iter(dataloader))[0]
        ones = model.ones_input() if hasattr(model, "ones_input") else torch.ones([1, *data.shape[1:]], device=device)
        model(ones).sum().backward()
        for _, parameter in self.masked_parameters:
            self.scores[id(parameter)] = (parameter.grad * parameter).detach().abs()
            parameter.grad.zero_()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.mul_(signs[name])


class Custom(Mag):
    """One of no known name: the magnitude in units of its tensor's norm."""

    def score(self, model, loss, dataloader, device):
        super().score(model, loss, dataloader, device)
        for score in self.scores.values():
            score.div_(score.norm())
