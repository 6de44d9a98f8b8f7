# Zheng and Yang, 2024. zkxufo/TTM has constants for WTTM beside CRD alone, taken for all.
model = dict(
    type='LogitDistiller',
    losses=dict(wttm=dict(type='TTMLoss', gamma=0.2, beta=4.0, weighted=True)),
)
