default_scope = 'aekt_mm'
custom_imports = dict(imports=['aekt_mm'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='FiguresHook'),  # no step waits for the device to log its losses
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    check=dict(type='DistillCheckHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(
    window_size=100,
    # what is logged as the mean over the window, not as the last batch's
    mean_pattern=r'.*(loss|time|grad_norm|student_top1|teacher_top1|agreement|_weight|_ratio).*',
)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
