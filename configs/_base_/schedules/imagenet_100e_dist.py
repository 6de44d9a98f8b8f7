# The schedule of DIST's ImageNet figures (hunto/image_classification_sota, resnet_dist.yaml): batch
# 256, Nesterov's momentum, and no decay of batch norms and biases.
_base_ = './imagenet_100e_bs256.py'

optim_wrapper = dict(optimizer=dict(nesterov=True), paramwise_cfg=dict(flat_decay_mult=0.0))
