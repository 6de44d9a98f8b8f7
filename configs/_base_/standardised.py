# Temperature, weight and beta of DKD with standardised logits, from the names of the authors' logs
# (sunshangquan/logit-standardization-KD); the weight multiplies both parts. Other pairs have 2, 9, 8.
standardised = {
    'resnet56_resnet20_cifar100': (3.0, 18.0, 2.0),
    'resnet20_resnet8_cifar100': (3.0, 18.0, 2.0),  # our choice: as the pair above
    'resnet56_resnet8_cifar100': (3.0, 18.0, 2.0),  # our choice
    'resnet110_resnet32_cifar100': (2.0, 15.0, 2.0),
    'wrn-40-2_wrn-16-2_cifar100': (2.0, 12.0, 2.0),
    'wrn-40-2_wrn-40-1_cifar100': (2.0, 12.0, 2.0),
    'vgg13_vgg8_cifar100': (2.0, 15.0, 2.0),
    'vgg13_mobilenet-v2_cifar100': (3.0, 9.0, 2.0),
    'resnet50_mobilenet-v2_cifar100': (2.0, 15.0, 2.0),
}
