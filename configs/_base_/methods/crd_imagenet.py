_base_ = './crd.py'  # mdistiller's configs for ImageNet have the same constants
