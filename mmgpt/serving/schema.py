"""OpenAI's chat completions as types: what a client sends and gets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Takes no value of a wrong type for a right one; fields that it does not know do not matter."""

    model_config = ConfigDict(strict=True, extra='ignore')


class TextPart(Strict):
    """Text of a message."""

    type: Literal['text']
    text: str


class Url(Strict):
    """Where a picture or video is: a ``data:`` URL."""

    url: str
    detail: str | None = None


class ImagePart(Strict):
    """A picture."""

    type: Literal['image_url']
    image_url: Url


class VideoPart(Strict):
    """A video, whose frames stand under one mark."""

    type: Literal['video_url']
    video_url: Url


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator='type')]


class Message(Strict):
    """One turn."""

    role: Literal['system', 'developer', 'user', 'assistant']
    content: str | list[Part]


class StreamOptions(Strict):
    """How an answer is streamed."""

    include_usage: bool = False


class ResponseFormat(Strict):
    """Only ``text``."""

    type: str


class ChatRequest(Strict):
    """``POST /v1/chat/completions``."""

    model: str = Field(description='the model, or one of its adapters: see /v1/models')
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, description='0 = greedy')
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    # what is not supported: a value other than the one that changes nothing is refused
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None


class TopLogprob(BaseModel):
    """A token that could have been chosen."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token that was chosen."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """Of the tokens of an answer, without the one that ends it."""

    content: list[TokenLogprob]


class PromptDetails(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int = 0


class Usage(BaseModel):
    """Tokens. A picture is one token of the prompt: its mark."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()


class AnswerMessage(BaseModel):
    """An answer."""

    role: Literal['assistant'] = 'assistant'
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    finish_reason: Literal['stop', 'length']
    logprobs: Logprobs | None = None


class Completion(BaseModel):
    """What ``/v1/chat/completions`` gives."""

    id: str
    object: Literal['chat.completion'] = 'chat.completion'
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class DeltaMessage(BaseModel):
    """What an event adds to an answer."""

    role: Literal['assistant'] | None = None
    content: str | None = None


class Delta(BaseModel):
    """An event of one of the answers."""

    index: int
    delta: DeltaMessage
    finish_reason: Literal['stop', 'length'] | None = None
    logprobs: Logprobs | None = None


class Chunk(BaseModel):
    """One server-sent event."""

    id: str
    object: Literal['chat.completion.chunk'] = 'chat.completion.chunk'
    created: int
    model: str
    choices: list[Delta]
    usage: Usage | None = None


class Model(BaseModel):
    """A model, or an adapter on one."""

    id: str
    object: Literal['model'] = 'model'
    created: int
    owned_by: str = 'mmgpt'
    parent: str | None = None


class Models(BaseModel):
    """What ``/v1/models`` gives."""

    object: Literal['list'] = 'list'
    data: list[Model]


class ErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """An error."""

    error: ErrorDetails
