"""The web page: chat, a look inside, a canvas, and two models side by side. Everything comes from this server."""

from fastapi import APIRouter

from mmgpt.serving.page import api, files

router = APIRouter()
router.include_router(files.router)
router.include_router(api.router)
