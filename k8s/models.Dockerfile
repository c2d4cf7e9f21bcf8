# The model repository as an image:
# docker build -f k8s/models.Dockerfile -t sluice-models:dev model_repository
FROM busybox:1.37.0
COPY . /model_repository
