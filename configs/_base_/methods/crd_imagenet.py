_base_ = './crd.py'

# as in mdistiller's configs for ImageNet
model = dict(features=dict(crd=dict(loss=dict(num_samples=1281167))))
