# DKD with standardised logits (Sun et al., 2024).
_base_ = ['./dkd.py', '../standardised.py']

transform = dict(type='LogitStandardization')
model = dict(losses=dict(dkd=dict(temperature=2.0, alpha=9.0, beta=72.0, transform=transform)))
per_pair = {
    pair: dict(losses=dict(dkd=dict(temperature=temperature, alpha=weight, beta=weight * beta)))
    for pair, (temperature, weight, beta) in _base_.standardised.items()
}
