# Li et al., 2023: KD with a global temperature that learns (zhengli97/CTKD, run_cifar_distill.sh).
_base_ = './kd.py'

temperature = dict(type='CurriculumTemperature', low=1.0, span=20.0, share=10 / 240)
model = dict(losses=dict(kd=dict(_delete_=True, type='KDLoss', alpha=0.9, temperature=temperature)))
custom_hooks = [dict(type='LossEpochHook')]
