"""Networks: backbones, pretrained weights, the classifier, losses, export."""
