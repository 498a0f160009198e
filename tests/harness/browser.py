"""A headless Chromium, driven through Debian's chromedriver."""

from __future__ import annotations

import base64
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from harness import processes
from harness.folders import make_folder

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key by which WebDriver names elements
_FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--window-size=1280,800"]


class Browser:
    """Use it as a context manager."""

    def __enter__(self) -> Browser:
        self.directory = make_folder("browser")
        processes.give_to_server(self.directory)
        self._port = processes.free_port()
        self._log = self.directory / "chromedriver.log"
        command = ["/usr/bin/chromedriver", f"--port={self._port}"]
        self._process = processes.spawn(command, self.directory, self._log, signal.SIGTERM)
        self._session = ""
        try:
            self.wait_for(self._is_ready)
            arguments = [*_FLAGS, f"--user-data-dir={self.directory}/profile"]
            options = {"binary": "/usr/bin/chromium", "args": arguments}
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._session:
                self._call("DELETE", self._session)
        finally:
            processes.end(self._process, signal.SIGTERM, timeout=20)
            shutil.rmtree(self.directory, ignore_errors=True)

    def _is_ready(self) -> bool:
        try:
            return bool(self._call("GET", "/status")["ready"])
        except requests.ConnectionError:
            return False

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, f"http://127.0.0.1:{self._port}{path}", json=body, timeout=60)
        value = answer.json()["value"]
        if answer.status_code >= 400:
            raise RuntimeError(f"{path}: {value['error']}: {value['message'][:500]}")
        return value

    # -- what a person does

    def open(self, url: str) -> None:
        self._call("POST", f"{self._session}/url", {"url": url})

    def _find(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def click(self, selector: str) -> None:
        self._call("POST", f"{self._session}/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"{self._session}/element/{self._find(selector)}/value", {"text": text})

    def run(self, script: str) -> Any:
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        return str(self._call("GET", f"{self._session}/element/{self._find(selector)}/text"))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    @staticmethod
    def wait_for(is_so: Callable[[], Any], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError("it did not happen")
            time.sleep(0.1)
