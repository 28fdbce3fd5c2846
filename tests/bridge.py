"""An ASGI application of a test's event loop, asked by a client that blocks in another thread.

transport = Bridge(create_app(deps))            in the event loop
with Client("http://registry", transport=transport) as client:
    await asyncio.to_thread(client.recalls, "88.9")
"""

import asyncio

import httpx


class Bridge(httpx.BaseTransport):
    def __init__(self, app):
        self._app = httpx.ASGITransport(app)
        self._loop = asyncio.get_running_loop()

    def handle_request(self, request):
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result(30)

    async def _ask(self, request):
        response = await self._app.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)
