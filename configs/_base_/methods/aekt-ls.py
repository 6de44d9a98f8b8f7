# AEKT with standardised logits; temperature and weights are those of DKD with them (our choice).
_base_ = ['./aekt.py', '../standardised.py']

transform = dict(type='LogitStandardization')
model = dict(losses=dict(aekt=dict(temperature=2.0, alpha=9.0, beta=72.0, transform=transform)))
per_pair = {
    pair: dict(losses=dict(aekt=dict(temperature=temperature, alpha=weight, beta=weight * beta)))
    for pair, (temperature, weight, beta) in _base_.standardised.items()
}
