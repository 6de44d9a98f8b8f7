_base_ = './imagenet.py'

# with 8 GPUs a batch of 256, as most authors have it
train_dataloader = dict(batch_size=32)
