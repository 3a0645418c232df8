# Otter 9 B on MIMIC-IT with four GPUs of 24 GB, as in the paper (arXiv 2305.03726): data, trained parts and optimiser
# are those of otter_mimicit.py. What is different is how the run is spread:
#
#   FSDP2 in bfloat16        each GPU keeps a quarter of the float32 weights, gradients and optimiser state, and gathers
#                            a layer in bfloat16 for as long as it computes
#   gradient_checkpointing   keeps the inputs of layers only
#
#   python tools/analysis_tools/plan_memory.py configs/otter_mimicit_4x24gb.py --gpus 4 --gpu-memory 24GiB
#   tools/dist_train.sh configs/otter_mimicit_4x24gb.py 4
#
# docs/tutorials/memory.md adds it up.
_base_ = ['otter_mimicit.py']

strategy = dict(type='FSDP2', param_dtype='bfloat16')
gradient_checkpointing = True
