"""The two residual blocks, with the parameter names that public checkpoints use.

Source: He et al. 2016, "Deep residual learning for image recognition", figure 5. The names, and the stride on the 3x3
convolution of a bottleneck, are those of the checkpoints that torchvision publishes.
"""

from collections.abc import Callable

from torch import Tensor, nn

from unlearning.architectures.core_network import convolution, rectifier


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, leaky: bool) -> None:
        """Take `inputs` channels to `planes`."""
        super().__init__()
        self.conv1 = convolution(inputs, planes, stride=stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = convolution(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = projection(inputs, planes, stride)
        self.act = rectifier(leaky)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(residual + shortcut)."""
        y = self.act(self.bn1(self.conv1(x)))
        return self.act(self.bn2(self.conv2(y)) + shortcut(self.downsample, x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times as many channels leave it as are inside."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, leaky: bool) -> None:
        """Take `inputs` channels to 4 * `planes`."""
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = convolution(inputs, planes, kernel=1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = convolution(planes, planes, stride=stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = convolution(planes, outputs, kernel=1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)
        self.act: Callable[[Tensor], Tensor] = rectifier(leaky)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(residual + shortcut)."""
        y = self.act(self.bn1(self.conv1(x)))
        y = self.act(self.bn2(self.conv2(y)))
        return self.act(self.bn3(self.conv3(y)) + shortcut(self.downsample, x))


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return the 1x1 projection of a shortcut that changes shape (option B of the paper), None where it does not."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(convolution(inputs, outputs, kernel=1, stride=stride), nn.BatchNorm2d(outputs))


def shortcut(downsample: nn.Module | None, x: Tensor) -> Tensor:
    """Return x, projected where the block changes its shape."""
    if downsample is None:
        return x
    projected: Tensor = downsample(x)
    return projected
