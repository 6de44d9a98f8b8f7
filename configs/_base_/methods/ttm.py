# Zheng and Yang, 2024. The README of zkxufo/TTM has the constants of VGG-13 -> VGG-8, taken for all.
model = dict(type='LogitDistiller', losses=dict(ttm=dict(type='TTMLoss', gamma=0.1, beta=45.0)))
