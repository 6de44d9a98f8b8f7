_base_ = './cifar_240e.py'

# the learning rate of the CIFAR-100 tables for MobileNetV2 and the ShuffleNets
optim_wrapper = dict(optimizer=dict(lr=0.01))
