"""The web page: it trains a model in the browser and shows every number of it. Uses no server.

    page.html, style.css    what the reader sees
    boot.js                 unpacks the scripts and starts the page's
    app.js, controls.js     the page's state and actions; the controls that call them
    client.js, worker.js    the two ends of the messages between the page and its worker
    session.js, engine.js   in the worker: one training run, and the arithmetic on typed arrays
    settings.js, ngrams.js  names and ranges of the settings; n-gram models to compare with
    charts.js               drawing; then one file for each part of the page:
    samples.js, trace.js, parameters.js, source.js
    export_module.js        not of the page: the functions of a model exported as a module
    assembly.py             makes one HTML file of all this

The worker also runs ../editions/microgpt.js, the algorithm in JavaScript.
"""
