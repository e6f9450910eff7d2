"""Beside the project's own pages: incoming (the webhook), status, health and ready below /voice."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from callengine.adapters.django import urls
from practice.calls import engine


def home(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("your own pages are here")


urlpatterns = [path("", home), path("voice/", include(urls(engine)))]
