"""The page in a real browser, without a screen."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from long_run import write_long_run
from PIL import Image, ImageStat

from projects.report import write_report

NUM_CHARTS = 9
SIZES = {'wide': (1280, 900), 'phone': (390, 844)}


@pytest.fixture(scope='module')
def browser():
    """Start Chromium; skips where there is none."""
    api = pytest.importorskip('playwright.sync_api')
    path = shutil.which('chromium') or shutil.which('google-chrome')
    if not path:
        pytest.skip('no Chromium: apt-get install chromium')
    # its sandbox does not start as root
    options = ['--no-sandbox'] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path,
                                             args=options)
        yield started
        started.close()


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """Write the page of two runs of 400 and 250 epochs."""
    root = tmp_path_factory.mktemp('long')
    runs = [write_long_run(root / 'mae_amt', num_pictures=5),
            write_long_run(root / 'mae_short', 250, seed=1,
                           num_pictures=5)]
    write_report(runs, root / 'report.html')
    return root / 'report.html'


@pytest.fixture
def open_page(browser):
    """Return a function that opens a file and waits until it is drawn.

    At the end no script may have failed and nothing may have been asked of
    the network.
    """
    messages, requests, contexts = [], [], []

    def visit(path, size='wide', scheme='light'):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport=dict(width=width, height=height), color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on('console', lambda message: messages.append(message.text))
        page.on('pageerror', lambda error: messages.append(str(error)))
        page.on('request', lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector('body[data-drawn]', timeout=60_000)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert messages == []
    assert all(url.startswith(('file:', 'data:')) for url in requests)


def ground(page):
    """Return the brightness of the page's ground, 0 to 255."""
    colour = page.evaluate('getComputedStyle(document.body).backgroundColor')
    return int(colour.strip('rgb()').split(',')[0])


def lines(page, chart=0):
    """Return how many lines a chart shows."""
    return page.locator(f'[data-chart="{chart}"] .scatterlayer .js-line'
                        ).count()


def check_screenshot(page, path, size, scheme):
    """Take pictures: the ground, and in a chart the colours of the runs."""
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as image:
        assert image.width == SIZES[size][0] and image.height > 1500
        dark = ImageStat.Stat(image.convert('L')).median[0] < 60
        assert dark == (scheme == 'dark')
    page.locator('[data-chart="0"]').screenshot(path=path)
    with Image.open(path) as image:
        colours = {c for _, c in image.convert('RGB').getcolors(1 << 20)}
    for swatch in page.locator('[data-toggle] .swatch').all():
        colour = swatch.evaluate('e => getComputedStyle(e).backgroundColor')
        assert tuple(map(int, colour[4:-1].split(','))) in colours


def test_wide(open_page, report, tmp_path, show):
    start = time.perf_counter()
    page = open_page(report)
    seconds = time.perf_counter() - start
    size = report.stat().st_size / 1e6
    show(f'two runs of 400 epochs: {size:.1f} MB, drawn in {seconds:.1f} s')
    assert size < 8 and seconds < 30
    assert page.locator('.plot').count() == NUM_CHARTS
    assert page.locator('table.figures').count() == 3
    check_screenshot(page, tmp_path / 'page.png', 'wide', 'light')
    # a run is hidden, and comes back
    assert lines(page) == 2
    page.get_by_role('button', name='mae_short').click()
    assert lines(page) == 1
    assert not page.locator('[data-run="1"]:visible').count()
    assert page.locator('[data-run="0"]:visible').count()
    page.get_by_role('button', name='mae_short').click()
    assert lines(page) == 2 and page.locator('[data-run="1"]:visible').count()
    # the slider goes from the last picture to the first
    picture = page.locator('[data-picture="0"]')
    last = picture.get_attribute('src')
    assert page.locator('output').first.inner_text() == '400'
    page.locator('[data-film="0"]').press('Home')
    assert page.locator('output').first.inner_text() == '0'
    assert picture.get_attribute('src') != last
    assert picture.evaluate('image => image.decode().then(() => '
                            'image.naturalWidth)') == 960


def test_dark_and_the_switch(open_page, report, tmp_path):
    page = open_page(report, scheme='dark')
    check_screenshot(page, tmp_path / 'page.png', 'wide', 'dark')
    line = page.locator('[data-chart="0"] .js-line').first
    colour = line.evaluate('e => e.style.stroke')
    for is_dark in (False, True):
        page.get_by_role('button', name='Switch').click()
        assert (ground(page) < 60) == is_dark
        assert (line.evaluate('e => e.style.stroke') == colour) == is_dark


def test_phone(open_page, report, tmp_path):
    page = open_page(report, 'phone')
    check_screenshot(page, tmp_path / 'page.png', 'phone', 'light')
    assert page.evaluate('document.documentElement.scrollWidth') == 390
    boxes = [plot.bounding_box() for plot in page.locator('.plot').all()]
    assert all(0 <= box['x'] and box['x'] + box['width'] <= 390
               and box['height'] >= 200 for box in boxes)


def test_hostile_files_run_nothing(open_page, tmp_path):
    attack = '</script></style><script>document.title = "taken"</script>' \
        '<img src=x onerror="document.title = \'taken\'">{{ 7 * 7 }}'
    run = write_long_run(tmp_path / attack.replace('/', '∕'), 50,
                         num_pictures=2)
    session = next(run.glob('2*'))
    config = session / 'vis_data' / 'config.py'
    config.write_text(f'{config.read_text()}\nname = {attack!r}\n')
    with open(next(session.glob('*.log')), 'a') as file:
        file.write(f'2026/01/02 00:00:00 - mmengine - WARNING - {attack}\n')
    picture = next((session / 'vis_data' / 'vis_image').glob('*.png'))
    picture.rename(picture.with_name(f'"><b onclick=x>{picture.name}'))
    out = tmp_path / 'report.html'
    write_report([run], out)
    page = open_page(out)
    assert page.title().endswith('run report')
    assert page.locator('script').count() == 3  # data, the page's own, plotly
    assert not page.locator('[onerror], [onclick], img[src=x]').count()
    assert page.get_by_text('{{ 7 * 7 }}').count()
    assert page.locator('pre', has_text='onerror').count() == 2
