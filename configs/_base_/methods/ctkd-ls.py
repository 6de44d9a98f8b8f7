# CTKD with standardised logits, with the weight of the authors' script (Sun et al., 2024,
# sunshangquan/logit-standardization-KD).
_base_ = './ctkd.py'

model = dict(losses=dict(kd=dict(alpha=9.0, transform=dict(type='LogitStandardization'))))
