# Otter's 9 B model: CLIP ViT-L/14, LLaMA-7B, a gated block before every fourth layer. Architectures stand beside the
# weights, so that the model can be built and counted without them.
vision_encoder = dict(
    type='ClipVision',
    weights='openai/clip-vit-large-patch14',
    config=dict(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        hidden_act='quick_gelu',
    ),
)
model = dict(
    type='Flamingo',
    vision_encoder=vision_encoder,
    resampler=dict(type='PerceiverResampler', depth=6, num_latents=64, heads=8, head_width=64),
    language_decoder=dict(
        type='CausalLM',
        weights='huggyllama/llama-7b',
        dtype='float32',  # the embedding is trained, and steps of 1e-5 are lost in half precision
        config=dict(
            model_type='llama',
            vocab_size=32000,
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            max_position_embeddings=2048,
            rms_norm_eps=1e-6,
        ),
    ),
    cross_attention=dict(type='GatedCrossAttention', heads=8, head_width=64, feedforward_ratio=4),
    cross_attn_every_n_layers=4,
    attend='previous',
    without_media='zero_attention',
    trainable=['resampler', 'gated_blocks'],
    train_embeddings='all',  # with LLaMA's head 1.441 B are trained; 'new' trains the added tokens' rows only: 1.179 B
)
tokenizer = dict(path='huggyllama/llama-7b')
template = dict(type='Otter', spacing='spaced')
image_transform = dict(size=224, resize='squash', interpolation='bicubic')
